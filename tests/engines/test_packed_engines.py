"""Engines that run packed models: equal to torch, truly in INT8, from the cache, refused where they cannot."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packed_nets import image, packed_net, settled_net, with_ranges

from frugalseg import processor
from frugalseg.artifact import Artifact, write_artifact
from frugalseg.engines import cache
from frugalseg.engines.onnxruntime import OnnxRuntimeEngine
from frugalseg.engines.openvino import OpenVinoEngine, executed_convolutions, observe
from frugalseg.engines.packed import INT8_FEATURES, choose_precision, packed_engines
from frugalseg.engines.torch import TorchEngine
from frugalseg.errors import ConfigError, InputError
from frugalseg.nets import NETS, SegmentationNet

SIDES = {"lite": (160, 192), "unet": (128, 160), "fcn": (128, 192)}

needs_vnni = pytest.mark.skipif(
    not INT8_FEATURES & set(processor.model_and_features()[1] or ()),
    reason="the processor has no instructions for INT8 (VNNI)",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


@pytest.fixture(scope="module", params=sorted(NETS))
def model(request: pytest.FixtureRequest) -> tuple[str, SegmentationNet, Artifact]:
    net = settled_net(request.param)
    artifact = packed_net(net, request.param)
    images = [image(*SIDES[request.param], seed) for seed in (3, 4)]
    return request.param, net, with_ranges(artifact, observe(artifact, 0, images, [99.99])[0])


@pytest.mark.parametrize("engine", [OpenVinoEngine, OnnxRuntimeEngine])
def test_fp32_is_what_torch_computes(model: tuple, engine: type) -> None:
    name, net, artifact = model
    batch = np.stack([image(*SIDES[name], 7), image(*SIDES[name], 8)])
    ours, theirs = engine(artifact).run(batch), TorchEngine(net).run(batch)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert ((ours[:, 1] > 0.5) == (theirs[:, 1] > 0.5)).mean() >= 0.9999


def test_engines_tell_what_tiling_needs(model: tuple) -> None:
    _, net, artifact = model
    for engine in (OpenVinoEngine(artifact), OnnxRuntimeEngine(artifact)):
        assert (engine.stride, engine.halo_px) == (net.stride, net.halo_px)


@pytest.mark.parametrize("engine", [OpenVinoEngine, OnnxRuntimeEngine])
def test_descriptors_are_torchs(model: tuple, engine: type) -> None:
    name, net, artifact = model
    batch = np.stack([image(*SIDES[name], 7), image(*SIDES[name], 8)])
    maps, descriptors = engine(artifact).describe(batch)
    wanted = TorchEngine(net).describe(batch)
    assert descriptors.shape == (2, net.descriptor_channels)
    np.testing.assert_allclose(maps, wanted[0], atol=1e-4)
    np.testing.assert_allclose(descriptors, wanted[1], atol=1e-4 * np.abs(wanted[1]).max())
    int8 = OpenVinoEngine(artifact, precision="int8").describe(batch)[1]
    for ours, theirs in zip(int8, wanted[1], strict=True):
        assert (
            ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.9
        )  # random networks of dozens of layers


@needs_vnni
def test_convolutions_truly_run_in_int8(model: tuple) -> None:
    name, _, artifact = model
    found = executed_convolutions(artifact, 0, *SIDES[name])
    total = sum(convolution.macs for convolution in found)
    assert len(found) > 15
    assert sum(convolution.macs for convolution in found if convolution.in_int8) >= 0.95 * total


@needs_vnni
def test_a_network_without_ranges_would_be_found_out() -> None:
    artifact = with_ranges(packed_net(settled_net("unet"), "unet"), {"image": (-1.0, 1.0)})
    found = executed_convolutions(artifact, 0, 64, 96)
    share = sum(c.macs for c in found if c.in_int8) / sum(c.macs for c in found)
    assert share < 0.1


def test_both_engines_agree_in_int8(model: tuple) -> None:
    name, _, artifact = model
    batch = image(*SIDES[name], 3)[None]
    ours = OpenVinoEngine(artifact, precision="int8").run(batch)
    theirs = OnnxRuntimeEngine(artifact, precision="int8").run(batch)
    assert np.abs(ours - theirs).mean() < 0.02
    exact = OnnxRuntimeEngine(artifact).run(batch)
    assert np.abs(ours - exact).mean() > np.abs(ours - theirs).mean() / 4  # it is another arithmetic than fp32


def test_image_sizes_may_change_between_runs(model: tuple) -> None:
    name, net, artifact = model
    engine = OpenVinoEngine(artifact)
    for shape in ((net.stride, 2 * net.stride), SIDES[name], (2 * net.stride, net.stride)):
        assert engine.run(image(*shape)[None]).shape == (1, 3, *shape)


def test_normalisation_is_the_models() -> None:
    net = settled_net("unet")
    artifact = dataclasses.replace(packed_net(net, "unet"), mean=63.5, divisor=64.0)
    dark = image(64, 64) // 2
    wanted = TorchEngine(net).run(((dark.astype(np.float32) - 63.5) / 64 * 128 + 127).astype(np.uint8)[None])
    for engine in (OpenVinoEngine(artifact), OnnxRuntimeEngine(artifact)):
        np.testing.assert_allclose(engine.run(dark[None]), wanted, atol=1e-4)


class TestCache:
    def test_second_time_from_disk_with_equal_results(self, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        artifact = packed_net(settled_net("unet"), "unet")
        batch = image(64, 96)[None]
        first = OpenVinoEngine(artifact, digest="content").run(batch)
        assert len(list(own_cache.iterdir())) == 1
        monkeypatch.setattr("frugalseg.engines.openvino.runnable", None)  # compiling anew would fail
        np.testing.assert_array_equal(OpenVinoEngine(artifact, digest="content").run(batch), first)

    def test_another_content_precision_or_thread_count_is_another_entry(self, own_cache: Path) -> None:
        artifact = packed_net(settled_net("unet"), "unet")
        for digest, precision, threads in (("a", "fp32", 0), ("b", "fp32", 0), ("a", "bf16", 0), ("a", "fp32", 1)):
            OpenVinoEngine(artifact, digest=digest, precision=precision, threads=threads)
        assert len(list(own_cache.iterdir())) == 4

    @pytest.mark.parametrize(
        "damage", [lambda b: b[:-1], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b""]
    )
    def test_damaged_entries_are_not_used(self, own_cache: Path, damage) -> None:  # type: ignore[no-untyped-def]
        artifact = packed_net(settled_net("unet"), "unet")
        batch = image(64, 96)[None]
        first = OpenVinoEngine(artifact, digest="content").run(batch)
        path = next(own_cache.iterdir())
        path.write_bytes(damage(path.read_bytes()))
        assert cache.load_compiled(path.name) is None
        np.testing.assert_array_equal(OpenVinoEngine(artifact, digest="content").run(batch), first)

    def test_a_cache_that_cannot_be_written_does_no_harm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
        artifact = packed_net(settled_net("unet"), "unet")
        assert OpenVinoEngine(artifact, digest="content").run(image(64, 64)[None]).shape == (1, 3, 64, 64)

    def test_what_was_used_longest_ago_gives_way(self, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import os

        monkeypatch.setattr(cache, "LARGEST_TOTAL", 250)
        own_cache.mkdir(parents=True)
        (own_cache / "thesis.docx").write_bytes(bytes(1000))  # not ours: neither counted nor removed
        os.utime(own_cache / "thesis.docx", (1e9, 1e9))
        keys = [cache.cache_key(part) for part in ("new", "middle", "old", "newest")]
        for age, key in enumerate(keys[:3]):
            cache.store_compiled(key, bytes(60))
            os.utime(own_cache / key, (1e9 - age, 1e9 - age))
        assert cache.load_compiled(keys[2]) == bytes(60)  # used just now
        cache.store_compiled(keys[3], bytes(60))
        assert {path.name for path in own_cache.iterdir()} == {keys[3], keys[2], "thesis.docx"}


class TestChoice:
    def test_int8_needs_ranges(self) -> None:
        artifact = packed_net(settled_net("unet"), "unet")
        with pytest.raises(InputError, match=r"m\.fseg: holds no ranges"):
            choose_precision(artifact, "m.fseg", "int8")

    @pytest.mark.parametrize(
        ("features", "engine", "expected"),
        [
            (["avx512_vnni", "avx512_bf16"], "openvino", "int8"),
            (["avx_vnni"], "onnxruntime", "int8"),
            (["avx2", "avx512_bf16"], "openvino", "bf16"),
            (["avx2", "avx512_bf16"], "onnxruntime", "fp32"),
            (["avx2"], "openvino", "fp32"),
            (None, "openvino", "fp32"),
        ],
    )
    def test_auto_takes_what_the_processor_has(
        self,
        features: list[str] | None,
        engine: str,
        expected: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setattr("frugalseg.engines.packed.model_and_features", lambda: ("any", features))
        artifact = with_ranges(packed_net(settled_net("unet"), "unet"), {"image": (-1.0, 1.0)})
        assert choose_precision(artifact, "m.fseg", "auto", engine) == expected
        assert len(caplog.records) == (expected != "int8")

    def test_onnxruntime_has_no_bf16(self) -> None:
        artifact = packed_net(settled_net("unet"), "unet")
        with pytest.raises(ConfigError, match="bf16"):
            packed_engines(artifact, "m.fseg", engine="onnxruntime", precision="bf16")

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    def test_what_an_engine_cannot_load_is_one_line(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        artifact = packed_net(settled_net("unet"), "unet")
        for module in ("graphs", "engines.onnxruntime"):
            monkeypatch.setattr(f"frugalseg.{module}.float_model", lambda *_: b"no model at all")
        with pytest.raises(InputError, match=rf"m\.fseg: {engine} cannot run it") as caught:
            packed_engines(artifact, "m.fseg", engine=engine, precision="fp32")
        assert len(caught.value.problems) == 1

    def test_a_graph_that_is_no_network_runs_nowhere(self) -> None:
        artifact = dataclasses.replace(packed_net(settled_net("unet"), "unet"), graph=b"garbage")
        with pytest.raises(InputError, match=r"m\.fseg"):
            packed_engines(artifact, "m.fseg")


def test_a_signal_after_an_engine_went_in_another_thread_ends_nothing(model: tuple, tmp_path: Path) -> None:
    """Where a processor has AMX, OpenVINO's stack for signals must not be freed while a thread still has it."""
    path = tmp_path / "model.fseg"
    write_artifact(path, model[2])
    program = (
        "import gc, pathlib, signal, sys, threading\n"
        "import numpy as np\n"
        "from frugalseg.predict import load_model\n"
        "kept = [load_model([pathlib.Path(sys.argv[1])])]\n"
        "kept[0].engines[0].run(np.zeros((1, 128, 128, 3), np.uint8))\n"
        "thread = threading.Thread(target=lambda: (kept.clear(), gc.collect()))\n"
        "thread.start(); thread.join()\n"
        "came = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: came.append(1))\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "print(came)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert (told.returncode, told.stdout.strip()) == (0, "[1]"), told.stderr


def test_threads_that_the_environment_asks_for(monkeypatch):
    """Both engines get them; a number that was given is kept."""
    pytest.importorskip("onnxruntime", reason="frugalseg[onnxruntime] is not installed")
    artifact = packed_net(settled_net("lite"), "lite")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for given, found in ((0, 1), (2, 2)):
        (engine,) = packed_engines(artifact, "net", engine="openvino", precision="fp32", threads=given)
        assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == found
        (engine,) = packed_engines(artifact, "net", engine="onnxruntime", precision="fp32", threads=given)
        assert engine._session.get_session_options().intra_op_num_threads == found
