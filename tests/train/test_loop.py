"""The loop itself: it learns, goes on from checkpoints to the bit, and survives losses that are not finite."""

from __future__ import annotations

import dataclasses
import logging
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import frugalseg.train.loop
from frugalseg.errors import InputError, TrainingError
from frugalseg.losses import segmentation_loss
from frugalseg.nets import SegmentationNet, build_net
from frugalseg.train.checkpoint import Progress, checkpoints, load_checkpoint, load_tensors, save_tensors
from frugalseg.train.config import TrainConfig
from frugalseg.train.loop import MAX_ROLLBACKS, Hooks, InterruptedTrainingError, Place, fit
from frugalseg.train.optimiser import AveragedNet, build_optimiser, rate_at
from frugalseg.train.patches import PreparedImage

pytestmark = pytest.mark.usefixtures("narrow")
CPU = Place(torch.device("cpu"), bf16=False)


def squares(n: int = 1) -> list[PreparedImage]:
    """Dark squares on light ground, a class of its own for every other one."""
    images = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        labels = np.zeros((64, 64), np.int32)
        for number, (top, left) in enumerate([(5, 5), (5, 36), (36, 5), (36, 36)], start=1):
            labels[top : top + 22, left : left + 20] = number
        image = np.where(labels[..., None] > 0, 70, 200) + rng.integers(-20, 20, (64, 64, 3))
        lookup = np.array([0, 1, 1, 1, 1])
        images.append(PreparedImage(f"squares {seed}", image.astype(np.uint8), labels, lookup))
    return images


class Diary:
    """Hooks that write down what they are told; scoring gives nothing."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.steps: list[int] = []

    def hooks(self) -> Hooks:
        return Hooks(lambda net: {}, self.rows.append, lambda step, loss: self.steps.append(step))


def run(config: TrainConfig, folder: Path, hooks: Hooks | None = None, *, seed: int = 0) -> dict[str, Tensor]:
    net = build_net(config.net, seed=seed)
    return fit(net, squares(), config, CPU, folder, hooks or Diary().hooks()).state_dict()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_an_image(tiny: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        tiny, steps=60, learning_rate=0.01, validate_every=10, patch_px=48, stain=0.0, ema_decay=0.9, elastic_px=2.0
    )
    diary = Diary()
    net = build_net("unet", seed=0)
    average = fit(net, squares(), config, CPU, tmp_path, diary.hooks())
    losses = [row["loss"] for row in diary.rows]
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0]
    source = squares()[0]
    with torch.inference_mode():
        logits = average.eval()((torch.from_numpy(source.image).permute(2, 0, 1)[None].float() - 127) / 128)
    right = (logits[0, 1] > logits[0, 0]).numpy() == (source.labels > 0)
    assert right.mean() > 0.9, "the averaged weights have learned it, too"
    assert diary.steps == list(range(1, 61))


@pytest.mark.parametrize("bf16", [False, True])
def test_every_network_takes_a_step(bf16: bool, tiny: TrainConfig, tmp_path: Path) -> None:
    for name in ("lite", "unet"):
        config = dataclasses.replace(tiny, net=name, steps=1, pretrained=False)
        before = build_net(name).state_dict()
        net = fit(
            build_net(name), squares(), config, Place(torch.device("cpu"), bf16), tmp_path / name, Diary().hooks()
        )
        after = net.state_dict()
        assert all(value.isfinite().all() for value in after.values())
        assert all(value.dtype == before[key].dtype for key, value in after.items()), "bf16 is for the arithmetic alone"
        assert not equal(before, after)


class TestResume:
    @pytest.mark.parametrize("stop_at", [1, 2, 5])
    def test_goes_on_to_the_same_weights(self, stop_at: int, tiny: TrainConfig, tmp_path: Path) -> None:
        """Stopped between checkpoints or at one, by an exception that nothing expects."""
        config = dataclasses.replace(tiny, checkpoint_every=2)
        whole = run(config, tmp_path / "whole")

        def stop(step: int, loss: float) -> None:
            if step == stop_at:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run(config, tmp_path / "cut", Hooks(lambda net: {}, lambda row: None, stop))
        diary = Diary()
        assert equal(run(config, tmp_path / "cut", diary.hooks(), seed=99), whole)
        assert diary.steps[0] == stop_at - (stop_at - 1) % 2, "it did go on, from the checkpoint before"

    def test_of_a_finished_run_changes_nothing(self, tiny: TrainConfig, tmp_path: Path) -> None:
        whole = run(tiny, tmp_path)
        diary = Diary()
        assert equal(run(tiny, tmp_path, diary.hooks()), whole)
        assert diary.steps == []

    def test_keeps_two_checkpoints(self, tiny: TrainConfig, tmp_path: Path) -> None:
        run(dataclasses.replace(tiny, checkpoint_every=1), tmp_path)
        assert [path.name for path in checkpoints(tmp_path)] == [
            "step-00000005.safetensors",
            "step-00000006.safetensors",
        ]

    @pytest.mark.parametrize("stop_at", [3, 6])
    def test_after_ctrl_c(self, stop_at: int, tiny: TrainConfig, tmp_path: Path) -> None:
        """Where no checkpoint is due, and in the last step."""
        whole = run(tiny, tmp_path / "whole")
        before = signal.getsignal(signal.SIGINT)

        def press(step: int, loss: float) -> None:
            if step == stop_at:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(InterruptedTrainingError, match=f"interrupted after {stop_at} of 6 steps; saved") as stop:
            run(tiny, tmp_path / "cut", Hooks(lambda net: {}, lambda row: None, press))
        assert stop.value.exit_code == 130
        assert signal.getsignal(signal.SIGINT) is before
        diary = Diary()
        assert equal(run(tiny, tmp_path / "cut", diary.hooks()), whole)
        assert diary.steps == list(range(stop_at + 1, 7))

    def test_a_second_ctrl_c_does_not_wait(self, tiny: TrainConfig, tmp_path: Path) -> None:
        def press(step: int, loss: float) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            run(tiny, tmp_path, Hooks(lambda net: {}, lambda row: None, press))


def flip_a_bit(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 4
    path.write_bytes(content)


class TestDamagedCheckpoints:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
            lambda path: flip_a_bit(path, 0.0),
            lambda path: flip_a_bit(path, 0.5),
            lambda path: flip_a_bit(path, 1.0),
            lambda path: save_tensors(path, {"step": torch.zeros(1)}, {"step": 1}),
            lambda path: save_tensors(path, {"net.x": torch.zeros(1)}, {"surprise": 1}),
            lambda path: save_tensors(path, load_tensors(path)[0]),
            lambda path: save_tensors(path, {"net.x": torch.zeros(1)}, {"step": 1}),
        ],
        ids=["empty", "cut off", "zeros", "bit of the length", "bit inside", "last byte", "no part", "odd header",
             "no header", "other network"],
    )  # fmt: skip
    def test_newest_damaged_means_the_one_before(
        self, damage: Any, tiny: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = run(tiny, tmp_path)
        newest = checkpoints(tmp_path)[-1]
        damage(newest)
        diary = Diary()
        with caplog.at_level(logging.WARNING):
            assert equal(run(tiny, tmp_path, diary.hooks(), seed=5), whole)
        assert diary.steps == [5, 6]
        assert str(newest) in caplog.text
        assert "going back to the checkpoint before" in caplog.text

    def test_all_damaged_is_an_error_not_a_fresh_start(self, tiny: TrainConfig, tmp_path: Path) -> None:
        run(tiny, tmp_path)
        for path in checkpoints(tmp_path):
            flip_a_bit(path, 0.7)
        with pytest.raises(InputError, match="is damaged: its content does not fit its checksum"):
            run(tiny, tmp_path)

    def test_any_flipped_bit_is_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        tensors = {"a": torch.arange(12.0).view(3, 4), "b": torch.tensor(7), "c": torch.ones(4, 3).bfloat16()}
        save_tensors(path, tensors, {"step": 3, "note": "x"})
        whole = path.read_bytes()
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
            try:
                found, document = load_tensors(path)
            except InputError:
                continue
            # damage that passes lies in the name of the document or of its checksum; a checkpoint refuses both
            assert equal(found, tensors)
            assert document == {} or len(document) == 3

    def test_equal_tensors_are_equal_files(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c", "d"):
            save_tensors(tmp_path / name, {"w": torch.ones(3), "v": torch.zeros(2)}, {"one": 1, "two": 2})
        assert len({(tmp_path / name).read_bytes() for name in ("a", "b", "c", "d")}) == 1

    def test_files_without_a_checksum_are_believed(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"w": torch.ones(3)}, tmp_path / "x", {"frugalseg": '{"step": 2}'})
        assert load_tensors(tmp_path / "x")[1] == {"step": 2}
        save_file({"w": torch.ones(3)}, tmp_path / "y")
        assert load_tensors(tmp_path / "y")[1] == {}

    def test_another_number_of_classes_is_one_line(self, tiny: TrainConfig, tmp_path: Path) -> None:
        run(tiny, tmp_path)
        net = build_net("unet", 2)
        with pytest.raises(InputError, match="is of another network") as caught:
            load_checkpoint(checkpoints(tmp_path)[-1], net, AveragedNet(net, 0.9), build_optimiser(net, tiny))
        assert "\n" not in str(caught.value)


def poison(monkeypatch: pytest.MonkeyPatch, calls: set[int], value: float = math.nan) -> list[int]:
    """Let the loss be `value` at the given calls, counted from 1; the list grows with each call."""
    seen: list[int] = []

    def loss(*args: Any, **options: Any) -> Tensor:
        seen.append(len(seen) + 1)
        true = segmentation_loss(*args, **options)
        return true * value if seen[-1] in calls else true

    monkeypatch.setattr(frugalseg.train.loop, "segmentation_loss", loss)
    return seen


class TestRollBack:
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_goes_back_at_half_the_rate(
        self, value: float, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        seen = poison(monkeypatch, {4}, value)
        diary = Diary()
        with caplog.at_level(logging.WARNING):
            weights = run(tiny, tmp_path, diary.hooks())
        assert diary.steps == [1, 2, 3, 3, 4, 5, 6], "step 4 failed; back to the checkpoint of step 2"
        assert len(seen) == 8
        assert [row["learning_rate"] for row in diary.rows] == pytest.approx(
            [rate_at(1, tiny), rate_at(3, tiny) / 2, rate_at(5, tiny) / 2]
        )
        assert f"became {value} at step 4" in caplog.text
        assert all(tensor.isfinite().all() for tensor in weights.values())
        document = load_tensors(checkpoints(tmp_path)[-1])[1]
        assert Progress(**document) == Progress(step=6, rate_factor=0.5, rollbacks=1)  # type: ignore[arg-type]

    def test_gives_up_after_three_and_says_why(
        self, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = poison(monkeypatch, set(range(1, 100)))
        with pytest.raises(TrainingError, match=r"diverged: .*became nan at step 1, .*factor 0\.125.*lower --learning"):
            run(tiny, tmp_path)
        assert len(seen) == 1 + MAX_ROLLBACKS

    def test_the_state_before_is_back_in_full(
        self, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the rate unchanged, a run that fell back would end as one that did not."""
        whole = run(tiny, tmp_path / "whole")
        poison(monkeypatch, {4})
        roll_back = frugalseg.train.loop._roll_back
        monkeypatch.setattr(
            frugalseg.train.loop, "_roll_back", lambda *args: dataclasses.replace(roll_back(*args), rate_factor=1.0)
        )
        assert equal(run(tiny, tmp_path / "fell"), whole)

    def test_an_absurd_rate_ends_in_one_line(self, tiny: TrainConfig, tmp_path: Path) -> None:
        config = dataclasses.replace(tiny, learning_rate=1e30, checkpoint_every=6, steps=40, validate_every=40)
        with pytest.raises(TrainingError, match="diverged: the loss or its gradient became"):
            run(config, tmp_path)

    def test_a_kill_after_a_roll_back_changes_nothing(
        self, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The halved rate is in the next checkpoint."""
        poison(monkeypatch, {4})
        whole = run(tiny, tmp_path / "whole")

        def stop(step: int, loss: float) -> None:
            if step == 5:
                raise ZeroDivisionError

        poison(monkeypatch, {4})
        with pytest.raises(ZeroDivisionError):
            run(tiny, tmp_path / "cut", Hooks(lambda net: {}, lambda row: None, stop))
        assert equal(run(tiny, tmp_path / "cut"), whole)


class TestOptimiser:
    def test_rate_rises_then_falls_to_a_hundredth(self, tiny: TrainConfig) -> None:
        config = dataclasses.replace(tiny, steps=100, warmup=0.1, learning_rate=1.0)
        rates = [rate_at(step, config) for step in range(100)]
        assert rates[0] == pytest.approx(0.1)
        assert rates[9] == rates[10] == pytest.approx(1.0)
        assert rates[55] == pytest.approx(0.505)
        assert 0.01 < rates[99] < 0.012
        assert rates[10:] == sorted(rates[10:], reverse=True)
        one_step = dataclasses.replace(config, steps=1)
        assert rate_at(0, one_step) == 1.0

    def test_only_convolution_weights_decay_and_pretrained_layers_learn_slower(self, tiny: TrainConfig) -> None:
        config = dataclasses.replace(tiny, net="lite", encoder_rate=0.5, weight_decay=0.1, pretrained=True)
        net = build_net("lite")
        optimiser = build_optimiser(net, config)
        found = {
            id(parameter): (group["rate_factor"], group["weight_decay"])
            for group in optimiser.param_groups
            for parameter in group["params"]
        }
        assert len(found) == len(list(net.parameters()))
        assert found[id(net.stem[0].weight)] == (0.5, 0.1)
        assert found[id(net.stem[1].weight)] == (0.5, 0.0)
        assert found[id(net.head.weight)] == (1.0, 0.1)
        assert found[id(net.head.bias)] == (1.0, 0.0)
        random = build_optimiser(net, dataclasses.replace(config, pretrained=False))
        assert {group["rate_factor"] for group in random.param_groups} == {1.0}

    def test_average_follows_its_formula_and_forgets_the_start(self, tiny: TrainConfig) -> None:
        net: SegmentationNet = build_net("unet")
        average = AveragedNet(net, 0.5)
        with torch.no_grad():
            start = net.head.bias.clone()
            net.head.bias += 1
        average.update(net, 0)  # min(0.5, 1 / 10): nine tenths of the way
        torch.testing.assert_close(average.net.head.bias, start + 0.9)
        average.update(net, 1000)
        torch.testing.assert_close(average.net.head.bias, start + 0.95)
        assert not average.net.head.bias.requires_grad
        net.down[0][0][1].num_batches_tracked += 3
        average.update(net, 1001)
        assert average.net.down[0][0][1].num_batches_tracked == 3
