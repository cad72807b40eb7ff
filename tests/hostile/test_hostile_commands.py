"""Commands in clumsy hands: each mistake costs one line and exit code 2, and nothing is left half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from frugalseg.cli import main
from frugalseg.images import write_image, write_label_map
from frugalseg.synthetic import synthetic_glands

SIDE = 96


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything a user may name by mistake, and one run trained for a single step."""
    root = tmp_path_factory.mktemp("workshop")
    for part in ("images", "masks"):
        (root / "data" / part).mkdir(parents=True)
    for seed in range(3):
        drawn = synthetic_glands(seed, height=SIDE, width=SIDE, kind="benign")
        write_image(root / "data" / "images" / f"x{seed}.png", drawn.image)
        write_label_map(root / "data" / "masks" / f"x{seed}.png", drawn.labels)
    shutil.copytree(root / "data" / "images", root / "no_masks")
    (root / "empty").mkdir()
    (root / "note.txt").write_text("no image\n")
    (root / "note.png").write_text("no image either\n")
    shutil.copytree(root / "data", root / "cut")
    whole = (root / "cut" / "images" / "x1.png").read_bytes()
    (root / "cut" / "images" / "x1.png").write_bytes(whole[: len(whole) // 2])
    shutil.copytree(root / "data", root / "rotten")
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    (root / "rotten" / "images" / "x1.png").write_bytes(damaged)
    shutil.copytree(root / "data", root / "large")
    write_label_map(root / "large" / "masks" / "x2.png", np.zeros((SIDE, SIDE + 1), np.int32))
    words = "train data --out run --net lite --steps 1 --batch-size 2 --patch-px 32 --image-scale 1 --threads 1"
    before = Path.cwd()
    os.chdir(root)
    try:
        assert main([*words.split(), "--no-pretrained", "--validation", "0", "--pixel-size-um", "0.5"]) == 0
    finally:
        os.chdir(before)
    (root / "unfinished").mkdir()
    shutil.copy(root / "run" / "config.json", root / "unfinished")
    return root


@pytest.fixture
def inside(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workshop)
    return workshop


def contents(root: Path) -> dict[str, bytes]:
    """Every file below `root`, byte for byte; folders, too, as empty entries."""
    found = sorted(root.rglob("*"))
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b"" for path in found}


def complaint(words: list[str], capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of complaint about a command that must fail with 2; other lines on stderr are the log."""
    try:
        code: object = main(words)
    except SystemExit as end:
        code = end.code
    told = capfd.readouterr()
    assert code == 2, told.err
    assert told.out == ""
    assert "Traceback" not in told.err
    return [line for line in told.err.splitlines() if line.startswith("frugalseg")]


MISTAKES: dict[str, tuple[str, ...]] = {
    # arguments
    "": ("required", "COMMAND"),
    "brew": ("invalid choice: 'brew'",),
    "data": ("required", "DIR"),
    "data chek data": ("invalid choice: 'chek'",),
    "train data": ("--out", "must name the run folder"),
    "train data --out new --steps abc": ("--steps", "whole number", "'abc'"),
    "train data --out new --steps 1.5": ("--steps", "whole number", "'1.5'"),
    "train data --out new --stepz 5": ("--stepz", "did you mean --steps?"),
    "train data --out new --step 5": ("--step", "did you mean --steps?"),
    "train data --out new --preset fast": ("--preset", "'fast'"),
    "train data --out new --learning-rate nan": ("--learning-rate", "number", "'nan'"),
    "train data other --out new": ("unknown argument", "other"),
    "demo --steps 0": ("--steps", "at least 1"),
    # settings whose value is impossible
    "train data --out new --steps 0": ("steps", "at least 1"),
    "train data --out new --validation 1.5": ("validation", "between 0 and 1"),
    "train data --out new --threads -1": ("threads", "at least 0"),
    "train data --out new --folds 1": ("folds", "at least 2"),
    "train data --out new --folds 9": ("folds", "9", "3"),
    "train data --out new --config gone.toml": ("gone.toml",),
    "train data --out new --groups gone.csv": ("gone.csv",),
    "train data --out new --subset testA": ("testA",),
    "data check data --pixel-size nan": ("--pixel-size", "nan"),
    "predict run data/images --out new --threads -1": ("--threads", "at least 0"),
    "predict run data/images --out new --pixel-size inf": ("--pixel-size", "inf"),
    "predict run data/images --out new --pixel-size 100": ("--pixel-size", "100 µm", "0.5 µm"),
    # folders and files that are not what the command wants
    "data check gone": ("gone", "does not exist"),
    "data check note.txt": ("note.txt", "not a folder"),
    "data check empty": ("empty", "no images"),
    "data check cut": ("x1.png", "truncated"),
    "data check rotten": ("x1.png", "damaged"),
    "data check large": ("masks", "x2.png", f"{SIDE + 1} x {SIDE}"),
    "train gone --out new": ("gone",),
    "train note.txt --out new": ("note.txt",),
    "train no_masks --out new": ("no_masks", "no annotated image"),
    "train cut --out new": ("x1.png", "truncated"),
    "train rotten --out new": ("x1.png", "damaged"),
    "train data --out new --resume": ("new", "no run"),
    "train data --out data": ("data", "not empty"),
    "train data --out run": ("run", "not empty", "--resume"),
    "train data --out note.txt": ("note.txt", "is a file"),
    "demo --data empty --out new": ("empty",),
    "demo --data data --out data": ("data", "which the demo clears"),
    "demo --data data/images --out data": ("data/images", "which the demo clears"),
    "demo --out note.txt": ("note.txt", "is a file"),
    "predict gone data/images --out new": ("gone", "no such model"),
    "predict note.txt data/images --out new": ("note.txt", "neither a run folder"),
    "predict empty data/images --out new": ("empty", "no trained model"),
    "predict unfinished data/images --out new": ("unfinished", "not finished", "--resume"),
    "predict run gone --out new": ("gone",),
    "predict run empty --out new": ("empty", "no image"),
    "predict run data --out new": ("data", "no image", "subfolder images"),
    "predict run note.txt --out new": ("note.txt", "not a PNG"),
    "predict run note.png --out new": ("note.png", "not a PNG"),
    "predict run cut/images --out new": ("x1.png", "truncated"),
    "predict run data/images --out data/images": ("data/images", "overwrite"),
    "predict run data/images --out run": ("run", "run folder itself"),
    "predict run data/images --out note.txt": ("note.txt", "is a file"),
    "predict run data/images no_masks/x0.png --out new": ("x0.png", "same stem"),
    "predict run data/images --out new --member gone": ("gone", "no such model"),
    "evaluate --pred gone --truth data/masks": ("gone", "no such folder"),
    "evaluate --pred note.txt --truth data/masks": ("note.txt", "not a folder"),
    "evaluate --pred data/masks --truth data": ("data", "no label maps", "subfolder masks"),
    "evaluate --pred data/masks --truth data/masks --match zz*": ("data/masks", "'zz*'"),
    "evaluate --pred data/masks --truth data/masks --out empty": ("empty", "is a folder"),
}  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: words or "nothing")
def test_mistake_costs_one_line_and_leaves_nothing(words: str, inside: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(inside)
    lines = complaint(words.split(), capfd)
    assert len(lines) == 1, lines
    for part in MISTAKES[words]:
        assert part in lines[0].replace("\\", "/")
    assert contents(inside) == before


def test_what_the_mistakes_are_mistakes_of_works(inside: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (
        "data check data",
        "predict run data/images data/images/x0.png --out results --threads 1 --pixel-size 0.5",
        "evaluate --pred results --truth data/masks --out scores/table.csv",
    ):
        assert main(words.split()) == 0, capfd.readouterr().err
    assert sorted(path.name for path in (inside / "results").iterdir()) == [
        "images.csv", "objects.csv", "overlays", "x0.png", "x1.png", "x2.png",
    ]  # fmt: skip
    rows = (inside / "results" / "objects.csv").read_text().splitlines()[1:]
    assert len(rows) == len(set(rows)), "an image that was named twice was segmented twice"
    for name in ("results", "scores"):
        shutil.rmtree(inside / name)


def test_split_without_groups_and_folds_work(inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = "--steps 1 --batch-size 2 --patch-px 32 --image-scale 1 --threads 1 --no-pretrained"
    assert main(["train", "data", "--out", str(tmp_path / "run"), "--groups", "none", *few.split()]) == 0
    assert (tmp_path / "run" / "gallery.png").is_file()
    assert main(["train", "data", "--out", str(tmp_path / "folds"), "--folds", "2", *few.split()]) == 0
    told = capfd.readouterr().out
    assert "held out, pooled" in told
    assert sum(line.startswith("fold ") for line in told.splitlines()) == 2


def test_missing_prediction_is_named(inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copy(inside / "data" / "masks" / "x0.png", tmp_path)
    lines = complaint(["evaluate", "--pred", str(tmp_path), "--truth", "data/masks"], capfd)
    assert len(lines) == 2
    for line, stem in zip(lines, ("x1", "x2"), strict=True):
        assert f"no prediction '{stem}'" in line


def test_truth_is_never_scored_against_itself(inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = complaint(["evaluate", "--pred", "data/masks", "--truth", "data/masks"], capfd)
    assert "is the folder of truths itself, and holds no other label maps" in line
    # predictions beside their truths are another matter
    labels = np.zeros((8, 8), np.int32)
    labels[2:6, 2:6] = 1
    write_label_map(tmp_path / "y_anno.png", labels)
    labels[2:6, 2:4] = 0
    write_label_map(tmp_path / "y.png", labels)
    assert main(["evaluate", "--pred", str(tmp_path), "--truth", str(tmp_path), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["pixel_dice"] == pytest.approx(2 / 3)


def test_every_bad_file_is_named_at_once(inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(inside / "data", tmp_path / "bad")
    (tmp_path / "bad" / "images" / "x0.png").write_bytes(b"")
    (tmp_path / "bad" / "masks" / "x2.png").write_bytes(b"GIF89a")
    for words in (["data", "check"], ["train", "--out", str(tmp_path / "new")]):
        lines = complaint([*words, str(tmp_path / "bad")], capfd)
        assert [Path(line.split(": ")[1]).name for line in lines] == ["x0.png", "x2.png"]
    assert not (tmp_path / "new").exists()


def test_prediction_goes_on_after_a_rotten_image(
    inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "run", "rotten/images", "--out", str(tmp_path / "out"), "--threads", "1", "--no-overlays"]
    lines = complaint(words, capfd)
    assert len(lines) == 1
    assert "x1.png" in lines[0]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["images.csv", "objects.csv", "x0.png", "x2.png"]


def test_pixel_size_of_a_file_that_cannot_be_right(
    inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    centimetre = 3
    per_cm = 10_000 / 0.002  # pixels of 2 nm: an image enlarged 250-fold would not fit into memory
    image = np.zeros((16, 16, 3), np.uint8)
    tifffile.imwrite(tmp_path / "em.tif", image, photometric="rgb", resolution=(per_cm, per_cm),
                     resolutionunit=centimetre)  # fmt: skip
    words = ["predict", "run", str(tmp_path / "em.tif"), "--out", str(tmp_path / "out"), "--threads", "1"]
    lines = complaint(words, capfd)
    assert len(lines) == 1
    for part in ("em.tif", "0.002 µm", "0.5 µm", "--pixel-size"):
        assert part in lines[0]
    assert not (tmp_path / "out").exists()
    assert main([*words, "--pixel-size", "0.5"]) == 0


SPOILT: dict[str, Callable[[Path], object]] = {
    "model.json: not a readable": lambda run: (run / "model.json").write_text("{"),
    "model.json: unknown network 'tile'": lambda run: _edit(run, net="tile"),
    "model.json: has another format": lambda run: _edit(run, format=99),
    "model.safetensors: does not fit": lambda run: _edit(run, net="unet"),
    "model.safetensors: no such file": lambda run: (run / "model.safetensors").unlink(),
    "model.safetensors: not a readable": lambda run: (run / "model.safetensors").write_bytes(b"PK\x03\x04"),
}


def _edit(run: Path, **changes: object) -> None:
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize("said", SPOILT)
def test_spoilt_model_is_one_line(said: str, inside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(inside / "run", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    SPOILT[said](tmp_path / "run")
    lines = complaint(["predict", str(tmp_path / "run"), "data/images", "--out", str(tmp_path / "out")], capfd)
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out").exists()
