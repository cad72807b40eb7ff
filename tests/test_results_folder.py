"""What lies in a folder of results after one call of predict, after several, and after one that was killed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.results_folder import IMAGES_TABLE, TABLE, ResultsFolder


def objects(image: str, n: int, **more: float) -> list[dict[str, object]]:
    fixed = {"class": "gland", "confidence": 0.9, "area_px": 9, "centroid_x_px": 1.0, "centroid_y_px": 2.0}
    return [{"image": image, "label": label, **fixed, "perimeter_px": 8.0, **more} for label in range(1, n + 1)]


def results(folder: Path, suffix: str = ".png", **n_of: int) -> None:
    """One call of predict that finds so many objects in each image."""
    written = ResultsFolder(folder, n_of)
    for name in n_of:
        (folder / f"{name}{suffix}").write_bytes(b"labels")
        written.clear(name, [folder / f"{name}{suffix}"])
    rows = [row for name, n in n_of.items() for row in objects(name, n)]
    written.finish(rows, [{"image": name, "n_objects": n, "foreground": 0.5} for name, n in n_of.items()])


def read(folder: Path, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / table).open(encoding="utf-8")))


def test_images_of_an_earlier_call_stay_in_the_tables(tmp_path: Path) -> None:
    results(tmp_path / "out", a=2, b=1)
    results(tmp_path / "out", b=3, c=0)
    assert {row["image"]: row["n_objects"] for row in read(tmp_path / "out", IMAGES_TABLE)} == {
        "a": "2", "b": "3", "c": "0",
    }  # fmt: skip
    assert [(row["image"], row["label"]) for row in read(tmp_path / "out", TABLE)] == [
        ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("b", "3"),
    ]  # fmt: skip


def test_after_a_kill_the_tables_tell_of_finished_images_alone(tmp_path: Path) -> None:
    results(tmp_path, a=2, b=1)
    ResultsFolder(tmp_path, ["a"])
    assert [row["image"] for row in read(tmp_path, IMAGES_TABLE)] == ["b"]
    assert [row["image"] for row in read(tmp_path, TABLE)] == ["b"]
    ResultsFolder(tmp_path / "new", ["a"])
    assert (tmp_path / "new" / IMAGES_TABLE).read_bytes() == b"", "marks the folder as one of results"


def test_an_image_whose_label_map_was_taken_away_leaves_the_tables(tmp_path: Path) -> None:
    results(tmp_path, a=2, b=1)
    (tmp_path / "a.png").unlink()
    results(tmp_path, c=1)
    assert [row["image"] for row in read(tmp_path, TABLE)] == ["b", "c"]


def test_an_image_has_one_label_map_whatever_its_format(tmp_path: Path) -> None:
    results(tmp_path, a=2)
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "a.png").write_bytes(b"of the first call")
    (tmp_path / "b.png").write_bytes(b"of nobody knows whom")
    ResultsFolder(tmp_path, ["a"])  # killed
    results(tmp_path, ".tiff", a=1)
    assert sorted(path.name for path in tmp_path.glob("a.*")) == ["a.tiff"]
    assert not (tmp_path / "overlays" / "a.png").exists()
    assert (tmp_path / "b.png").exists()


def test_columns_that_only_some_images_have(tmp_path: Path) -> None:
    sized = ResultsFolder(tmp_path, ["a"])
    (tmp_path / "a.png").write_bytes(b"labels")
    image = {"image": "a", "n_objects": 1, "foreground": 0.5, "distance": 0.7, "unlike": ""}
    sized.finish(objects("a", 1, area_um2=3.5, perimeter_um=4.5), [image])
    results(tmp_path, b=1)
    assert [row["area_um2"] for row in read(tmp_path, TABLE)] == ["3.5", ""]
    assert [row["distance"] for row in read(tmp_path, IMAGES_TABLE)] == ["0.7", ""]


def test_two_calls_at_once_keep_each_others_rows(tmp_path: Path) -> None:
    first = ResultsFolder(tmp_path, ["a"])
    (tmp_path / "a.png").write_bytes(b"labels")
    results(tmp_path, b=2)
    first.finish(objects("a", 1), [{"image": "a", "n_objects": 1, "foreground": 0.5}])
    assert [row["image"] for row in read(tmp_path, IMAGES_TABLE)] == ["b", "a"]
    assert [row["image"] for row in read(tmp_path, TABLE)] == ["b", "b", "a"]


def test_names_with_blanks_and_columns_that_somebody_added(tmp_path: Path) -> None:
    results(tmp_path, **{" a ": 1})
    lines = (tmp_path / TABLE).read_text().splitlines()
    (tmp_path / TABLE).write_text(f"{lines[0]},note\n{lines[1]},looked at\n")
    results(tmp_path, b=1)
    assert [(row["image"], row["note"]) for row in read(tmp_path, TABLE)] == [(" a ", "looked at"), ("b", "")]


def test_a_table_that_is_no_text_stays(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"objects.csv: cannot be read .* would be overwritten"):
        ResultsFolder(tmp_path, ["a"])


@pytest.mark.parametrize("table", [TABLE, IMAGES_TABLE])
def test_tables_of_others_are_not_written_over(tmp_path: Path, table: str) -> None:
    (tmp_path / table).write_text("slide,scanner\n1,A\n")
    with pytest.raises(InputError, match=f"{table}: is no table of predict, and would be overwritten"):
        ResultsFolder(tmp_path, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == [table]
    assert (tmp_path / table).read_text() == "slide,scanner\n1,A\n"


def test_label_maps_of_others_are_not_written_over_in_either_format(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match=r"a.tiff: is no result of predict, and would be overwritten"):
        ResultsFolder(tmp_path, ["a", "b"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.tiff"]
