"""``frugalseg annotations``: out and in again, all or nothing, every complaint one line."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from frugalseg.cli import main
from frugalseg.formats import FORMATS
from frugalseg.images import write_image
from frugalseg.project import Project, Reason

Captured = pytest.CaptureFixture[str]
HEIGHT, WIDTH = 24, 32


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Images a, b, c and d: two classes; c is incomplete and has a window, d has no annotation."""
    monkeypatch.chdir(tmp_path)
    made = Project.create(tmp_path / "project", ["gland", "nerve"])
    for seed, name in enumerate("abcd"):
        picture = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        write_image(tmp_path / "images" / f"{name}.png", picture)
    made.add_images(sorted((tmp_path / "images").iterdir()))
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    labels[2:6, 3:8], labels[6:9, 3:8], labels[10:13, 20:23] = 1, 7, 70000
    made.annotate("a", labels, complete=True, source="test", object_classes={7: 1})
    labels[20:] = -1
    made.annotate("b", labels, complete=True, source="test", object_classes={70000: 1})
    made.annotate("c", labels, complete=False, source="test", window=(1, 2, 19, 18), object_classes={70000: 1})
    return made


def run(capsys: Captured, line: str) -> dict[str, object]:
    """What a command says that ends well."""
    capsys.readouterr()
    assert main([*line.split(), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def refused(capsys: Captured, line: str) -> list[str]:
    """The complaints of a command that exits with 2."""
    capsys.readouterr()
    assert main(line.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    return [each for each in told.err.splitlines() if each.startswith("frugalseg: ")]


def versions(project: Project) -> dict[str, int]:
    return {image.name: image.annotation.version if image.annotation else 0 for image in project.images()}


def files(project: Project) -> list[str]:
    return sorted(path.name for path in (project.folder / "masks").iterdir())


def test_the_command_knows_the_formats() -> None:
    module = importlib.import_module("frugalseg.cli.annotations")
    assert tuple(FORMATS) == module.FORMATS


@pytest.mark.parametrize("words", ["labels", "geojson", "geojson --gzip", "coco", "coco --coco-rle"])
def test_what_comes_back_unchanged_makes_no_version(words: str, project: Project, capsys: Captured) -> None:
    form = words.split()[0]
    out = "out.json" if form == "coco" else "out"
    done = run(capsys, f"annotations export project --out {out} --format {words}")
    assert (done["images"], done["objects"], done["notes"]) == (3, 8, [])
    before = versions(project), files(project)
    back = run(capsys, f"annotations import project {out} --format {form}")
    assert (back["imported"], back["unchanged"], back["notes"]) == ([], ["a", "b", "c"], [])
    assert (versions(project), files(project)) == before
    back = run(capsys, f"annotations import project {out} --format {form} --incomplete --images a,c")
    assert (back["imported"], back["unchanged"]) == (["a"], ["c"])
    current = project.image("a").annotation
    assert current is not None
    assert (current.version, current.source, current.complete) == (2, "import", False)
    assert dict(current.object_classes) == {1: 0, 7: 1, 70000: 0}
    np.testing.assert_array_equal(project.labels(current), project.labels(project.history("a")[0]))


@pytest.mark.parametrize("form", ["labels", "geojson", "cellpose", "coco"])
def test_a_suggested_window_is_what_a_file_without_one_speaks_of(
    form: str, project: Project, tmp_path: Path, capsys: Captured
) -> None:
    """As `import` has it; objects outside the window speak of the whole image."""
    out = "out.json" if form == "coco" else "out"
    for name in "ab":
        other = Project.create(tmp_path / f"other-{name}", ["gland"])
        other.add_images(sorted((tmp_path / "images").iterdir()))
        other.add_suggestions([Reason("a", window=(0, 0, 16, 16))], "cover")
        drawn = Project.create(tmp_path / f"drawn-{name}", ["gland"])
        drawn.add_images(sorted((tmp_path / "images").iterdir()))
        labels = np.zeros((HEIGHT, WIDTH), np.int32)
        labels[2:6, 3:8] = 1
        labels[20:23, 20:23] = 2 * (name == "b")
        drawn.annotate("a", labels, complete=True, source="test")
        run(capsys, f"annotations export drawn-{name} --out {name}-{out} --format {form}")
        document = run(capsys, f"annotations import other-{name} {name}-{out} --format {form}")
        found = other.image("a").annotation
        assert found is not None
        assert found.window == ((0, 0, 16, 16) if name == "a" else None)
        assert any("window" in note for note in document["notes"])  # type: ignore[attr-defined]


def test_into_another_project(project: Project, tmp_path: Path, capsys: Captured) -> None:
    run(capsys, "annotations export project --out out --format geojson")
    other = Project.create(tmp_path / "other", ["nerve", "vessel", "gland"])
    other.add_images(sorted((tmp_path / "images").iterdir()))
    run(capsys, "annotations import other out --format geojson")
    for name in "abc":
        ours, theirs = project.image(name).annotation, other.image(name).annotation
        assert ours is not None
        assert theirs is not None
        np.testing.assert_array_equal(project.labels(ours), other.labels(theirs))
        assert (ours.window, ours.complete, ours.n_objects) == (
            theirs.window,
            theirs.complete,
            theirs.n_objects,
        ) or name == "c"
        named = {label: other.class_names[index] for label, index in theirs.object_classes.items()}
        assert named == {label: project.class_names[ours.object_classes[label]] for label in named}


def test_cellpose_has_no_classes(project: Project, capsys: Captured) -> None:
    done = run(capsys, "annotations export project --out out --format cellpose")
    assert len(done["notes"]) == 2  # type: ignore[arg-type]
    lines = refused(capsys, "annotations import project out --format cellpose")
    assert lines[0] == "frugalseg: a: has 3 objects without a class; say which (--class NAME)"
    assert len(lines) == 3
    assert "is no class" in refused(capsys, "annotations import project out --format cellpose --class cell")[0]
    assert run(capsys, "annotations import project out --format cellpose --class nerve")["imported"] == ["a", "b", "c"]
    current = project.image("a").annotation
    assert current is not None
    assert set(current.object_classes.values()) == {1}


def test_nnunet_there_and_back(project: Project, capsys: Captured) -> None:
    run(capsys, "annotations export project --out out --format nnunet --complete-only")
    assert run(capsys, "annotations import project out --format nnunet")["imported"] == ["a", "b"]
    current = project.image("a").annotation
    assert current is not None
    assert sorted(current.object_classes.values()) == [0, 0, 1]


def test_what_is_exported(project: Project, capsys: Captured) -> None:
    assert run(capsys, "annotations export project --out o1 --format labels --complete-only")["images"] == 2
    assert run(capsys, "annotations export project --out o2 --format labels --images c,a")["images"] == 2
    assert sorted(path.name for path in Path("o2").iterdir()) == ["a.tiff", "annotations.csv", "c.png", "classes.csv"]
    assert main([*["annotations", "export", "project", "--out", "o3", "--format"], "labels"]) == 0
    assert capsys.readouterr().out == "o3: 3 images, 8 objects, 5 files\n"
    assert main([*["annotations", "import", "project", "o3", "--format"], "labels"]) == 0
    told = capsys.readouterr().out
    assert told == (
        "project: 0 annotations imported, 3 images annotated in all\n3 annotations left out: equal to the current one\n"
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("export project --format labels", "--out: is needed"),
        ("export project there --format labels --out o", "PATH: belongs to annotations import"),
        ("export project --format labels --out o --incomplete", "--incomplete: belongs"),
        ("export project --format labels --out o --gzip", "--gzip: belongs to --format geojson"),
        ("export project --format geojson --out o --coco-rle", "--coco-rle: belongs to --format coco"),
        ("export project --format labels --out o --images ,", "--images: names no image"),
        ("export project --format labels --out o --images x", "x: is no image of this project"),
        ("export project --format labels --out o --images d", "d: has no annotation"),
        ("export project --format labels --out o --images c --complete-only", "has no complete annotations"),
        ("export project --format labels --out images", "is not empty"),
        ("export project --format labels --out images/a.png", "is a file"),
        ("export project --format coco --out folder", "is no name for a COCO file"),
        ("export nothing --format labels --out o", "does not exist"),
        ("import project --format labels", "PATH: is needed"),
        ("import project images --format labels --out o", "--out: belongs to annotations export"),
        ("import project nothing --format coco", "does not exist"),
        ("import project images --format geojson", "holds no GeoJSON files"),
        ("import project images --format labels", "is a colour image"),
    ],
)
def test_mistakes_cost_a_line(line: str, complaint: str, project: Project, capsys: Captured) -> None:
    before = sorted(Path.cwd().iterdir())
    assert any(complaint in each for each in refused(capsys, f"annotations {line}"))
    assert sorted(Path.cwd().iterdir()) == before
    assert set(versions(project).values()) == {0, 1}


@pytest.mark.parametrize("form", ["labels", "geojson", "cellpose"])
def test_one_bad_file_among_good_ones_and_nothing_is_imported(form: str, project: Project, capsys: Captured) -> None:
    run(capsys, f"annotations export project --out out --format {form}")
    bad = next(path for path in Path("out").iterdir() if path.name.startswith("b"))
    bad.write_bytes(bad.read_bytes()[:-30])
    before = files(project)
    lines = refused(
        capsys, f"annotations import project out --format {form} --incomplete{' --class gland' * (form == 'cellpose')}"
    )
    assert len(lines) == 1
    assert str(bad) in lines[0]
    assert files(project) == before
    assert versions(project) == {"a": 1, "b": 1, "c": 1, "d": 0}
    other = "annotations import project out --images a --incomplete --format"
    assert run(capsys, f"{other} {form}{' --class gland' * (form == 'cellpose')}")["imported"] == ["a"]


def test_classes_that_the_project_does_not_have(project: Project, tmp_path: Path, capsys: Captured) -> None:
    run(capsys, "annotations export project --out out --format geojson")
    for classes, taken in ((("gland", "vessel"), False), (("cell",), False)):
        name = "-".join(classes)
        other = Project.create(tmp_path / name, classes)
        other.add_images(sorted((tmp_path / "images").iterdir()))
        lines = refused(capsys, f"annotations import {name} out --format geojson")
        assert all("has objects of the class" in line for line in lines), taken
        assert files(other) == []
    single = Project.create(tmp_path / "single", ["cell"])
    single.add_images(sorted((tmp_path / "images").iterdir()))
    text = Path("out/a.geojson").read_text()
    Path("out/a.geojson").write_text(text.replace("nerve", "gland"))
    assert run(capsys, "annotations import single out --format geojson --images a")["imported"] == ["a"]


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from frugalseg.cli import build_parser; build_parser('annotations');"
        "print([name for name in ('numpy', 'shapely', 'sqlalchemy', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_masks_of_65535_are_objects_unless_our_table_lies_beside_them(project: Project, capsys: Captured) -> None:
    out = Path("masks")
    out.mkdir()
    for name in "abc":
        image = project.image(name)
        mask = np.zeros((image.height, image.width), np.uint16)
        mask[2:6, 2:6] = mask[10:14, 10:14] = 65535
        tifffile.imwrite(out / f"{name}.tif", mask)
    done = run(capsys, "annotations import project masks --format labels --class gland")
    assert done["imported"] == ["a", "b", "c"]
    current = project.image("a").annotation
    assert current is not None
    assert current.n_objects == 2
    (out / "annotations.csv").write_text("image,complete,x,y,width,height\n")
    run(capsys, "annotations import project masks --format labels --class gland")
    current = project.image("a").annotation
    assert current is not None
    assert current.n_objects == 0
