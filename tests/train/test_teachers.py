"""Learning from teachers: the loss by another's hand, what a phase takes over, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from narrow_nets import narrow_unet

from frugalseg.cli import main
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import write_image
from frugalseg.instances import InstanceSettings
from frugalseg.losses import imitation_loss
from frugalseg.model_files import ModelCard
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train import TrainConfig
from frugalseg.train.lesson import Lesson, prepare_unlabelled
from frugalseg.train.loop import InterruptedTrainingError
from frugalseg.train.quantize_config import QuantizeConfig
from frugalseg.train.quantized import quantize_run
from frugalseg.train.run import train
from frugalseg.train.teachers import Teachers
from frugalseg.train.weights import load_net

TINY = TrainConfig(
    steps=3, batch_size=2, patch_px=32, threads=1, pretrained=False, net="unet", precision="fp32", image_scale=0.5
)
PHASE = QuantizeConfig(method="none", steps=12, cycles=1, norm_batches=2, learning_rate=3e-3, distillation=1.0)


@pytest.fixture(scope="module", autouse=True)
def narrow() -> object:
    """In all tests, and in what they share."""
    with narrow_unet():
        yield


@pytest.fixture(scope="module")
def runs(glands: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A student's source and a teacher that was trained longer, from another seed."""
    folder = tmp_path_factory.mktemp("runs")
    train(TINY, glands, folder / "student")
    train(dataclasses.replace(TINY, steps=30, seed=7), glands, folder / "teacher")
    return folder / "student", folder / "teacher"


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    write_synthetic_dataset(folder, 3, 0, 5, height=96, width=112)
    for mask in folder.glob("*_anno.png"):
        mask.unlink()
    return folder


def test_the_loss_is_what_torch_calls_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, generator=generator)
    teacher = torch.randn(2, 4, 5, 6, generator=generator)
    targets = torch.cat([teacher[:, :-1].softmax(1), teacher[:, -1:].sigmoid()], dim=1)
    classes = F.kl_div(logits[:, :-1].log_softmax(1), targets[:, :-1], reduction="none").sum(1)
    pair = torch.stack([logits[:, -1], torch.zeros_like(logits[:, -1])], dim=1).log_softmax(1)
    border = F.kl_div(pair, torch.stack([targets[:, -1], 1 - targets[:, -1]], dim=1), reduction="none").sum(1)
    assert float(imitation_loss(logits, targets)) == pytest.approx(float((classes + border).mean()), rel=1e-5)
    assert float(imitation_loss(teacher, targets)) == pytest.approx(0, abs=1e-6)
    sure = torch.zeros(1, 3, 2, 2)
    sure[:, 0] = 1.0  # certain background, certainly no border: 0 log 0 is 0
    assert float(imitation_loss(torch.zeros(1, 3, 2, 2), sure)) == pytest.approx(2 * np.log(2), rel=1e-6)


def test_teachers_are_averaged(runs: tuple[Path, Path]) -> None:
    nets = [load_net(folder)[0] for folder in runs]
    inputs = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    each = [Teachers([net], 1.0).probabilities(inputs) for net in nets]
    both = Teachers(nets, 1.0).probabilities(inputs)
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    torch.testing.assert_close(both[:, :-1].sum(1), torch.ones(1, 32, 32))


def distance(run: Path, teacher: Path, images: Path) -> float:
    """Mean difference of the probabilities of two networks on images."""
    from frugalseg.engines.torch import TorchEngine
    from frugalseg.images import load_image, open_dataset
    from frugalseg.segmentation import mean_map

    maps = []
    for folder in (run, teacher):
        net, card = load_net(folder)
        samples = open_dataset(images).samples
        maps.append([mean_map([TorchEngine(net)], load_image(each), card.scale, False) for each in samples])
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(*maps, strict=True)]))


def test_a_student_comes_nearer_to_its_teacher(runs: tuple[Path, Path], unlabelled: Path, tmp_path: Path) -> None:
    """On images without annotations, whether they are shown or not; most with a share of 1."""
    student, teacher = runs
    plain = quantize_run(student, PHASE, tmp_path / "plain").folder
    taught = quantize_run(student, PHASE, tmp_path / "taught", lesson=Lesson((teacher,))).folder
    shown = quantize_run(student, PHASE, tmp_path / "shown", lesson=Lesson((teacher,), unlabelled)).folder
    far, near, nearer = (distance(run, teacher, unlabelled) for run in (plain, taught, shown))
    assert near < 0.8 * far
    assert nearer < 0.8 * far
    document = json.loads((shown / "config.json").read_text())
    assert [Path(each["run"]).name for each in document["teachers"]["runs"]] == ["teacher"]
    assert document["teachers"]["unlabelled"]["root"] == str(unlabelled.resolve())
    assert document["quantize"]["distillation"] == 1.0


def test_an_interrupted_student_goes_on_with_the_same_teachers(
    runs: tuple[Path, Path], unlabelled: Path, tmp_path: Path, sha256: object
) -> None:
    student, teacher = runs
    config = dataclasses.replace(PHASE, method="lsq", bits=3, distillation=0.5)
    lesson = Lesson((teacher,), unlabelled)
    whole = quantize_run(student, config, tmp_path / "whole", lesson=lesson).folder

    def stop(folder: Path) -> None:
        raise InterruptedTrainingError("stopped")

    with pytest.raises(InterruptedTrainingError):
        quantize_run(student, config, tmp_path / "cut", lesson=lesson, on_report=stop)
    for other in (None, Lesson((student,), unlabelled), Lesson((teacher,))):
        with pytest.raises(ConfigError, match="had other teachers or other unlabelled images"):
            quantize_run(student, config, tmp_path / "cut", lesson=other, resume=True)
    moved = Lesson((shutil.copytree(teacher, tmp_path / "moved"),), unlabelled)
    resumed = quantize_run(student, config, tmp_path / "cut", lesson=moved, resume=True).folder
    assert sha256(resumed / "model.safetensors") == sha256(whole / "model.safetensors")  # type: ignore[operator]


def test_what_cannot_be_learnt_from(
    runs: tuple[Path, Path], coloured_squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, teacher = runs
    other = train(dataclasses.replace(TINY, image_scale=1.0), coloured_squares, tmp_path / "other").folder
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"other: has the classes"):
        quantize_run(student, PHASE, out, lesson=Lesson((teacher, other)))
    with pytest.raises(InputError, match="no trained model"):
        quantize_run(student, PHASE, out, lesson=Lesson((tmp_path,)))
    with pytest.raises(ConfigError, match="need teachers"):
        quantize_run(student, PHASE, out, lesson=Lesson((), coloured_squares))
    (tmp_path / "broken").mkdir()
    write_image(tmp_path / "broken" / "a.png", np.zeros((40, 40, 3), np.uint8))
    content = (tmp_path / "broken" / "a.png").read_bytes()
    (tmp_path / "broken" / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.png"):
        quantize_run(student, PHASE, out, lesson=Lesson((teacher,), tmp_path / "broken"))
    assert not out.exists()
    for flags in (["--distillation", "0.3"], ["--unlabelled", str(coloured_squares)]):
        assert main(["quantize", str(student), "--out", str(tmp_path / "never"), *flags]) == 2
        assert "means nothing without --teacher" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


def test_unlabelled_images_are_seen_at_the_scale_of_their_pixels(tmp_path: Path) -> None:
    card = ModelCard("unet", ("gland",), 0.5, 0.5, 60.0, InstanceSettings())
    for name, size in (("same", 0.5), ("finer", 0.25), ("unknown", None)):
        write_image(tmp_path / f"{name}.png", np.zeros((80, 120, 3), np.uint8), pixel_size_um=size)
    found = {each.name: each.image.shape[:2] for each in prepare_unlabelled(Lesson((), tmp_path), card)}
    assert found == {"same": (40, 60), "finer": (20, 30), "unknown": (40, 60)}
    write_image(tmp_path / "wrong.png", np.zeros((80, 120, 3), np.uint8), pixel_size_um=9.9)
    with pytest.raises(
        InputError, match=r"wrong.png: pixels of 9.9\d* µm, the training images had 0.5 µm: more than 16"
    ):
        prepare_unlabelled(Lesson((), tmp_path), card)
