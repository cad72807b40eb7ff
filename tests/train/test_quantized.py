"""The quantized phase: from a float run to few-bit weights, resumable, and predicted from like any other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from narrow_nets import narrow_unet

from frugalseg.cli import main
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import read_label_map
from frugalseg.inspection import inspect_model
from frugalseg.quant import code_entropy
from frugalseg.quant.layers import bake, effective_weights, to_codes
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train import TrainConfig
from frugalseg.train.folder import CHECKPOINTS, read_metrics
from frugalseg.train.loop import InterruptedTrainingError
from frugalseg.train.quantize_config import QuantizeConfig
from frugalseg.train.quantized import quantize_run
from frugalseg.train.run import train
from frugalseg.train.weights import load_net

TINY = TrainConfig(steps=3, batch_size=2, patch_px=64, threads=1, pretrained=False, net="unet")


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """In all tests, and in what they share."""
    with narrow_unet():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glands")
    write_synthetic_dataset(folder, 3, 1, seed=2, height=96, width=128)
    return folder


@pytest.fixture(scope="module")
def source(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TINY, data, tmp_path_factory.mktemp("float") / "run").folder


def phase(method: str = "inq", **changes: object) -> QuantizeConfig:
    return QuantizeConfig(**{"method": method, "steps": 8, "norm_batches": 2, **changes})  # type: ignore[arg-type]


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("method", "bits"),
    [("inq", 5), ("dorefa", 1), ("twn", 2), ("ttq", 2), ("lsq", 3)],
)
def test_weights_have_few_levels_and_come_back_from_the_folder(
    method: str, bits: int, source: Path, tmp_path: Path
) -> None:
    result = quantize_run(source, phase(method, bits=bits), tmp_path / "run")
    assert result.card.quantization is not None
    assert (result.card.quantization.method, result.card.quantization.bits) == (method, bits)
    net, _ = load_net(tmp_path / "run")
    codes, weights = to_codes(net), effective_weights(net)
    n_layers = sum(isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for m in net.modules())
    assert len(codes) == n_layers
    for name, tensor in codes.items():
        assert len(np.unique(tensor.codes)) <= 2**bits
        np.testing.assert_array_equal(tensor.dequantize(), weights[name].numpy())
    plain = bake(net)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(image), net(image), rtol=0, atol=0)


def test_the_source_is_left_as_it_was_and_the_float_control_trains_on(source: Path, tmp_path: Path) -> None:
    before = sha256(source)
    result = quantize_run(source, phase("none"), tmp_path / "run")
    assert sha256(source) == before
    assert result.card.quantization is None
    assert sha256(tmp_path / "run") != before
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "run")]
    assert len(rates) == 4  # one report a cycle, each at the same place of it
    assert rates == pytest.approx([rates[0]] * 4)


def test_no_steps_quantize_the_weights_as_they_are(source: Path, tmp_path: Path) -> None:
    quantize_run(source, phase("inq", bits=7, steps=0), tmp_path / "run")
    trained, _ = load_net(source)
    quantized = effective_weights(load_net(tmp_path / "run")[0])
    for name, weight in quantized.items():
        original = trained.get_parameter(name)
        large = original.abs() > 1e-3 * original.abs().max()
        ratio = weight[large] / original[large]
        assert ((ratio >= 2 / 3 - 1e-6) & (ratio <= 4 / 3 + 1e-6)).all()  # the nearest power of two


@pytest.mark.parametrize("method", ["freeze", "noise"])
def test_controls_of_inq_leave_float_weights(method: str, source: Path, tmp_path: Path) -> None:
    result = quantize_run(source, phase(method, bits=5), tmp_path / "run")
    assert result.card.quantization is None
    assert len(read_metrics(tmp_path / "run")) == 4  # INQ's four portions
    mine, card = load_net(tmp_path / "run")
    assert card.quantization is None
    weights, before = mine.state_dict(), load_net(source)[0].state_dict()
    assert weights.keys() == before.keys()
    assert any(not torch.equal(weights[name], before[name]) for name in weights)
    quantize_run(source, phase(method, bits=5, steps=0, norm_batches=0), tmp_path / "at-once")
    name = next(name for name in weights if name.endswith("weight") and weights[name].ndim == 4)
    assert torch.equal(load_net(tmp_path / "at-once")[0].state_dict()[name], before[name]) == (method == "freeze")
    with pytest.raises(ConfigError, match="bits"):
        quantize_run(source, phase(method, bits=12), tmp_path / "other")


def test_weight_decay_of_the_phase(source: Path, tmp_path: Path) -> None:
    for name, decay in (("same", None), ("equal", TINY.weight_decay), ("more", 2.0)):
        quantize_run(source, phase("none", steps=4, weight_decay=decay), tmp_path / name)
    assert sha256(tmp_path / "same") == sha256(tmp_path / "equal") != sha256(tmp_path / "more")
    norms = [sum(float(v.square().sum()) for n, v in load_net(tmp_path / name)[0].state_dict().items() if v.ndim == 4)
             for name in ("same", "more")]  # fmt: skip
    assert norms[1] < norms[0]
    with pytest.raises(ValueError, match="weight_decay"):
        phase(weight_decay=-1.0)


@pytest.mark.parametrize("method", ["inq", "lsq", "noise"])
def test_a_stopped_phase_goes_on_to_the_same_weights(
    method: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = phase(method, bits=4, steps=8)
    quantize_run(source, config, tmp_path / "whole")
    calls = []

    def stop(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 2:
            raise InterruptedTrainingError("stopped by the test")

    with pytest.raises(InterruptedTrainingError):
        quantize_run(source, config, tmp_path / "parts", on_report=stop)
    assert list((tmp_path / "parts" / CHECKPOINTS).glob("step-*"))
    quantize_run(source, config, tmp_path / "parts", resume=True)
    assert sha256(tmp_path / "parts") == sha256(tmp_path / "whole")


def test_what_cannot_be_done_is_said_before_any_work(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bits"):
        quantize_run(source, phase("twn", bits=3), tmp_path / "a")
    with pytest.raises(InputError, match="no trained model"):
        quantize_run(tmp_path, phase(), tmp_path / "b")
    quantize_run(source, phase("twn", steps=0), tmp_path / "c")
    with pytest.raises(InputError, match="quantized already"):
        quantize_run(tmp_path / "c", phase(), tmp_path / "d")
    with pytest.raises(ConfigError, match="steps"):
        quantize_run(source, phase("twn", steps=9), tmp_path / "c", resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_a_pattern_that_fits_no_layer_leaves_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no layer's name fits"):
        quantize_run(source, phase("twn", float_layers=("heads.*.typo",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    quantize_run(source, phase("twn", steps=0), tmp_path / "run")


def test_a_phase_need_not_run_where_its_source_did(source: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(source, tmp_path / "source"))
    document = json.loads((run / "config.json").read_text())
    document["config"]["device"] = "cuda"
    (run / "config.json").write_text(json.dumps(document))
    quantize_run(run, phase("twn", steps=1), tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_errors_are_measured_against_the_very_source(source: Path, data: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(source, tmp_path / "own"))
    quantize_run(own, phase("twn", steps=0), tmp_path / "run")
    assert all(layer["relative_rmse"] < 1 for layer in inspect_model(tmp_path / "run")["layers"])
    shutil.rmtree(own)
    train(dataclasses.replace(TINY, seed=9), data, own)  # another network where the source was
    assert all(layer["relative_rmse"] is None for layer in inspect_model(tmp_path / "run")["layers"])


def test_codes_that_cost_something_become_cheaper(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entropies, sizes = [], []
    for factor in (0.0, 10.0):
        out = tmp_path / f"{factor}"
        flags = ["--method", "lsq", "--bits", "4", "--steps", "24", "--learning-rate", "2e-3", "--norm-batches", "2"]
        assert main(["quantize", str(source), "--out", str(out), *flags, "--entropy-factor", str(factor)]) == 0
        tensors = to_codes(load_net(out)[0]).values()
        entropies.append(sum(code_entropy(each.codes) * each.codes.size for each in tensors))
        assert main(["export", str(out), "--no-int8", "--out", str(out.with_suffix(".fseg"))]) == 0
        sizes.append(out.with_suffix(".fseg").stat().st_size)
    assert entropies[1] < 0.8 * entropies[0]
    assert sizes[1] < sizes[0]
    capsys.readouterr()
    refused = ["quantize", str(source), "--out", str(tmp_path / "no"), "--method", "inq", "--entropy-factor", "1"]
    assert main(refused) == 2
    assert "entropy_factor goes with the method lsq" in capsys.readouterr().err
    for flags in (["--bits", "4"], ["--float-layers", "head.*"], ["--granularity", "layer"]):
        assert main([*refused[:4], "--method", "none", *flags]) == 2
        assert "means nothing where weights stay float" in capsys.readouterr().err
    (tmp_path / "settings.toml").write_text("distillation = 0.9\n")
    assert main([*refused[:4], "--config", str(tmp_path / "settings.toml")]) == 2
    assert "distillation: means nothing without --teacher" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_train_quantize_makes_one_folder_that_predicts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--preset", "smoke", "--steps", "2", "--patch-px", "64", "--threads", "1", "--no-pretrained"]
    both = ["--quantize", "inq", "--bits", "5", "--quantize-steps", "4"]
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *flags, *both, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == str(tmp_path / "run")
    assert (tmp_path / "run" / "float" / "model.json").exists()
    assert json.loads((tmp_path / "run" / "model.json").read_text())["quantization"]["bits"] == 5
    image = next(iter(data.rglob("testA_1.png")))
    assert main(["predict", str(tmp_path / "run"), str(image), "--out", str(tmp_path / "out")]) == 0
    assert read_label_map(tmp_path / "out" / "testA_1.png", split_binary=False).shape == (96, 128)
    assert main(["train", str(data), "--out", str(tmp_path / "other"), *flags, "--bits", "5"]) == 2
    assert "--quantize" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_inspect_counts_every_number(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantize_run(source, phase("inq", bits=5, steps=0, norm_batches=0), tmp_path / "run")
    assert main(["inspect", str(tmp_path / "run"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    totals, layers = document["totals"], document["layers"]
    plain = bake(load_net(tmp_path / "run")[0])
    stored = [value for value in plain.state_dict().values() if value.is_floating_point()]
    weights = [m.weight.numel() for m in plain.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert totals["n_values"] == sum(value.numel() for value in stored)
    assert totals["n_float_values"] == totals["n_values"] - sum(weights)
    assert totals["bytes"] == 4 * totals["n_float_values"] + sum((5 * n + 7) // 8 + 4 for n in weights)
    assert totals["mean_bits"] == pytest.approx(8 * totals["bytes"] / totals["n_values"])
    assert totals["entropy_bytes"] < totals["bytes"]
    assert all(layer["levels_used"] <= 17 for layer in layers)
    assert all(0.05 < layer["relative_rmse"] < 0.35 for layer in layers)
    assert main(["inspect", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["ratio_to_float32"] == 1.0
    assert main(["inspect", str(tmp_path / "nothing")]) == 2
