"""Members of an ensemble: what makes them differ, where they begin, and that a killed ensemble goes on as it was."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from narrow_nets import narrow_unet
from torch import Tensor

from frugalseg.ensemble.config import PORTIONS, EnsembleConfig, member_seed
from frugalseg.ensemble.members import FLOAT, TRUNK, bootstrap, float_run, train_ensemble
from frugalseg.errors import FrugalsegError, InputError
from frugalseg.executors import open_executor
from frugalseg.images import read_label_map, write_label_map
from frugalseg.model_files import read_card
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.weights import load_float_net

TINY = TrainConfig(
    net="unet", steps=4, patch_px=32, batch_size=2, threads=1, precision="fp32", image_scale=0.5, validate_every=2,
    seed=3, device="cpu",
)  # fmt: skip
NAMES = ("train_1", "train_2", "train_3", "train_4")
FLOATS = EnsembleConfig(members=3, method="none")
FEW_BITS = EnsembleConfig(members=2, quantize_steps=4)
SHARED = EnsembleConfig(members=2, quantize_steps=4, shared_trunk=True)


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """In all tests, and in what they share."""
    with narrow_unet():
        yield


@pytest.fixture(scope="module")
def glands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glands")
    write_synthetic_dataset(folder, 4, 0, 1, height=64, width=80)
    return folder


def ensemble(glands: Path, out: Path, config: EnsembleConfig, train: TrainConfig = TINY, **more) -> list[Path]:
    return train_ensemble(glands, NAMES, out, train, config, open_executor("serial"), **more)


@pytest.fixture(scope="module")
def floats(glands: Path, narrow: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("floats") / "members"
    ensemble(glands, out, FLOATS)
    return out


@pytest.fixture(scope="module")
def few_bits(glands: Path, narrow: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("few-bits") / "members"
    ensemble(glands, out, FEW_BITS)
    return out


@pytest.fixture(scope="module")
def shared(glands: Path, narrow: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared") / "members"
    ensemble(glands, out, SHARED)
    return out


def sha256(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def parameters(run: Path) -> dict[str, Tensor]:
    """Trained numbers, without the statistics of batch normalisation, which any step moves."""
    return dict(load_float_net(run)[0].named_parameters())


def farthest(one: Path, other: Path) -> float:
    first, second = parameters(one), parameters(other)
    return max(float((first[name] - second[name]).abs().max().detach()) for name in first)


def cut(run: Path, after: int | None) -> None:
    """Leave a finished run as a kill would have: at the checkpoint of that step, or before there was any."""
    for name in ("model.json", "model.safetensors"):
        (run / name).unlink()
    if after is None:
        shutil.rmtree(run / "checkpoints")
        (run / "metrics.jsonl").unlink()
        return
    kept = f"step-{after:08d}.safetensors"
    assert (run / "checkpoints" / kept).exists()
    for path in (run / "checkpoints").iterdir():
        if path.name != kept:
            path.unlink()


class TestBootstrap:
    def test_draws_as_many_with_replacement_and_sorted(self) -> None:
        names = [f"{index:02}" for index in range(50)]
        shares = []
        for member in range(60):
            drawn = bootstrap(names, 0, member)
            assert len(drawn) == 50
            assert set(drawn) <= set(names)
            assert list(drawn) == sorted(drawn)
            shares.append(len(set(drawn)) / 50)
        # of n names each is drawn with probability 1 - (1 - 1/n)^n
        assert np.mean(shares) == pytest.approx(1 - (1 - 1 / 50) ** 50, abs=0.02)

    def test_seed_and_member_decide(self) -> None:
        names = [str(index) for index in range(30)]
        assert bootstrap(names, 5, 2) == bootstrap(list(names), 5, 2)
        assert len({bootstrap(names, seed, member) for seed in range(3) for member in range(4)}) == 12

    def test_one_image_is_drawn_always(self) -> None:
        assert bootstrap(["a"], 0, 3) == ("a",)


class TestFloatMembers:
    def test_each_has_its_own_images_seed_and_weights(self, floats: Path) -> None:
        runs = sorted(floats.iterdir())
        assert [run.name for run in runs] == ["member-0", "member-1", "member-2"]
        for index, run in enumerate(runs):
            document = read_config(run)
            assert tuple(document["data"]["train"]) == bootstrap(NAMES, TINY.seed, index)
            assert document["config"]["seed"] == 100 * TINY.seed + index
            assert read_card(run).quantization is None
            assert float_run(run) == run
        assert len({sha256(run) for run in runs}) == 3
        assert len({tuple(read_config(run)["data"]["train"]) for run in runs}) > 1

    def test_the_same_seed_gives_the_same_bytes_another_one_others(
        self, floats: Path, glands: Path, tmp_path: Path
    ) -> None:
        one = EnsembleConfig(members=1, method="none")
        (again,) = ensemble(glands, tmp_path / "again", one)
        (other,) = ensemble(glands, tmp_path / "other", one, dataclasses.replace(TINY, seed=40))
        assert sha256(again) == sha256(floats / "member-0") != sha256(other)

    def test_an_image_drawn_twice_counts_twice(self, glands: Path, tmp_path: Path) -> None:
        """Trained on one image twice and another once, the first is seen more often: other weights than once each."""
        from frugalseg.train.run import train

        runs = {}
        for name, side in {"a": ("train_1", "train_2"), "b": ("train_1", "train_1", "train_2")}.items():
            train(TINY, glands, tmp_path / name, split=(side, ()))
            runs[name] = sha256(tmp_path / name)
            assert read_config(tmp_path / name)["data"]["train"] == list(side)
        assert runs["a"] != runs["b"]


class TestFewBitMembers:
    def test_each_is_a_phase_from_a_float_run_of_its_own(self, few_bits: Path) -> None:
        for index in range(2):
            member = few_bits / f"member-{index}"
            card = read_card(member)
            assert card.quantization is not None
            assert card.quantization.method == "inq"
            assert read_card(member / FLOAT).quantization is None
            assert float_run(member) == member / FLOAT
            document = read_config(member)
            assert document["data"]["train"] == read_config(member / FLOAT)["data"]["train"]
            assert document["source"]["sha256"] == sha256(member / FLOAT)
        assert sha256(few_bits / "member-0") != sha256(few_bits / "member-1")

    def test_a_finished_ensemble_is_left_alone(self, few_bits: Path, glands: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in few_bits.rglob("*") if path.is_file()}
        folders = ensemble(glands, few_bits, FEW_BITS)
        assert folders == [few_bits / "member-0", few_bits / "member-1"]
        assert {path: path.stat().st_mtime_ns for path in few_bits.rglob("*") if path.is_file()} == before


def test_members_share_what_is_known_of_objects_and_images(tmp_path: Path) -> None:
    """Whatever each has drawn, and even a draw without any object; sizes are those of all annotated images."""
    glands = tmp_path / "glands"
    write_synthetic_dataset(glands, 8, 0, 1, height=64, width=80)
    names = tuple(f"train_{index}" for index in range(1, 9))
    for name in names[1:]:
        path = glands / f"{name}_anno.png"
        write_label_map(path, np.zeros_like(read_label_map(path)))
    draws = [bootstrap(names, TINY.seed, index) for index in range(3)]
    assert any(names[0] not in draw for draw in draws)
    out = tmp_path / "members"
    runs = train_ensemble(glands, names, out, TINY, FLOATS, open_executor("serial"))
    cards = [read_card(run) for run in runs]
    assert cards[0] == cards[1] == cards[2]
    assert [tuple(read_config(run)["data"]["train"]) for run in runs] == draws
    assert cards[0].familiarity is not None, "eight images are enough, six of a draw would not be"


def test_seeds_of_members_are_their_own() -> None:
    assert len({member_seed(seed, index) for seed in range(5) for index in range(100)}) == 500
    assert [member_seed(0, index) for index in range(3)] == [0, 1, 2]
    assert 0 <= member_seed(2**63 - 1, 3) < 2**63


class TestSharedTrunk:
    def test_the_trunk_is_trained_once_on_everything_and_only_phases_differ(self, shared: Path) -> None:
        assert sorted(path.name for path in shared.iterdir()) == ["member-0", "member-1", TRUNK]
        trunk = read_config(shared / TRUNK)
        assert trunk["data"]["train"] == list(NAMES)
        assert read_card(shared / TRUNK).quantization is None
        for index in range(2):
            member = shared / f"member-{index}"
            document = read_config(member)
            assert not (member / FLOAT).exists()
            assert document["source"]["sha256"] == sha256(shared / TRUNK)
            assert tuple(document["data"]["train"]) == bootstrap(NAMES, TINY.seed, index)
            assert tuple(document["quantize"]["portions"]) == PORTIONS[index]
        assert sha256(shared / "member-0") != sha256(shared / "member-1")

    def test_a_trunk_that_is_there_is_used_and_not_touched(self, shared: Path, glands: Path, tmp_path: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in (shared / TRUNK).rglob("*")}
        config = EnsembleConfig(members=2, method="none", quantize_steps=1, shared_trunk=True)
        runs = ensemble(glands, tmp_path / "members", config, trunk=shared / TRUNK)
        assert sorted(path.name for path in (tmp_path / "members").iterdir()) == ["member-0", "member-1"]
        assert {path: path.stat().st_mtime_ns for path in (shared / TRUNK).rglob("*")} == before
        assert all(read_card(run).quantization is None for run in runs)
        assert len({sha256(run) for run in (*runs, shared / TRUNK)}) == 3

    def test_float_members_without_steps_would_be_equal(self) -> None:
        with pytest.raises(ValueError, match="they would be equal"):
            EnsembleConfig(method="none", quantize_steps=0, shared_trunk=True)


class TestWarmStart:
    HARDLY = dataclasses.replace(TINY, steps=1, learning_rate=1e-9, validate_every=1)
    ONE = EnsembleConfig(members=1, method="none")

    def test_begins_with_the_earlier_weights(self, floats: Path, glands: Path, tmp_path: Path) -> None:
        (warm,) = ensemble(glands, tmp_path / "warm", self.ONE, self.HARDLY, start=floats)
        (cold,) = ensemble(glands, tmp_path / "cold", self.ONE, self.HARDLY)
        assert farthest(warm, floats / "member-0") < 1e-6
        assert farthest(cold, floats / "member-0") > 1e-3
        assert read_config(warm)["source"]["sha256"] == sha256(floats / "member-0")

    def test_begins_with_float_weights_where_members_have_few_bits(
        self, few_bits: Path, glands: Path, tmp_path: Path
    ) -> None:
        (warm,) = ensemble(glands, tmp_path / "warm", self.ONE, self.HARDLY, start=few_bits)
        assert farthest(warm, few_bits / "member-0" / FLOAT) < 1e-6

    def test_a_trunk_begins_with_the_earlier_trunk(self, shared: Path, glands: Path, tmp_path: Path) -> None:
        config = EnsembleConfig(members=1, method="none", quantize_steps=1, shared_trunk=True)
        ensemble(glands, tmp_path / "warm", config, self.HARDLY, start=shared)
        assert farthest(tmp_path / "warm" / TRUNK, shared / TRUNK) < 1e-6

    def test_another_network_is_refused(self, floats: Path, glands: Path, tmp_path: Path) -> None:
        config = dataclasses.replace(self.HARDLY, net="lite", pretrained=False)
        with pytest.raises(FrugalsegError, match=r"member-0: .*holds a 'unet', not a 'lite'") as caught:
            ensemble(glands, tmp_path / "warm", self.ONE, config, start=floats)
        assert "\n" not in str(caught.value)

    def test_few_bit_weights_are_refused(self, few_bits: Path) -> None:
        with pytest.raises(InputError, match="is quantized already"):
            load_float_net(few_bits / "member-0")


class TestInterrupted:
    @pytest.mark.parametrize("after", [2, None])
    def test_in_the_float_phase(self, after: int | None, few_bits: Path, glands: Path) -> None:
        """The first member is done, the second one was in its float phase."""
        before = [sha256(few_bits / f"member-{index}") for index in range(2)]
        second = few_bits / "member-1"
        for path in second.iterdir():
            if path.name != FLOAT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        cut(second / FLOAT, after)
        ensemble(glands, few_bits, FEW_BITS)
        assert [sha256(few_bits / f"member-{index}") for index in range(2)] == before

    def test_in_the_phases_of_few_bits(self, few_bits: Path, glands: Path) -> None:
        """One had saved a checkpoint, the other one had only just begun."""
        before = [sha256(few_bits / f"member-{index}") for index in range(2)]
        cut(few_bits / "member-0", 3)
        cut(few_bits / "member-1", None)
        ensemble(glands, few_bits, FEW_BITS)
        assert [sha256(few_bits / f"member-{index}") for index in range(2)] == before

    def test_in_a_shared_trunk(self, shared: Path, glands: Path) -> None:
        before = [sha256(shared / name) for name in (TRUNK, "member-0", "member-1")]
        cut(shared / TRUNK, 2)
        for index in range(2):
            shutil.rmtree(shared / f"member-{index}")
        ensemble(glands, shared, SHARED)
        assert [sha256(shared / name) for name in (TRUNK, "member-0", "member-1")] == before

    def test_with_other_settings_it_does_not_go_on(self, floats: Path, glands: Path, tmp_path: Path) -> None:
        shutil.copytree(floats, tmp_path / "members")
        cut(tmp_path / "members" / "member-0", 2)
        with pytest.raises(FrugalsegError, match=r"learning_rate: is 0\.5, but the run to resume in .* has 0\.002"):
            ensemble(glands, tmp_path / "members", FLOATS, dataclasses.replace(TINY, learning_rate=0.5))
