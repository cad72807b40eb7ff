"""Segmenting with a packed model against other ways of running the same network: time, bytes, loading.

    python benchmarks/bench_inference.py [--nets lite,unet,fcn] [--sizes 522x775,2048x2048] [--repeats N] [--run RUN]
                                         [--image FILE]

Every way runs the same float network on the same image at the network's scale; they take turns, so that what else the
machine does falls on all of them, and figures are medians. Ours are OpenVINO in INT8 (the file's own codes and
ranges), bf16 and fp32; rivals are torch eager in fp32 and channels-last bf16, torch.compile (`--compile`), ONNX Runtime
in fp32 and in its static INT8, and OpenVINO with NNCF's post-training INT8. Ratios are against torch eager fp32.
`lite` is the shipped model `glands` where no run is given, the others are untrained then. The whole pipeline reads a
PNG file (`--image`, else a synthetic one), segments it with the network in it, and ends with a label map of full size;
that of untrained networks says nothing, for they see objects in every speck. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import torch
from safetensors.torch import save_file

from frugalseg.artifact import Artifact, read_artifact, write_artifact
from frugalseg.engines.openvino import OpenVinoEngine, compile_options, executed_convolutions
from frugalseg.engines.torch import TorchEngine
from frugalseg.export.calibration import calibrate
from frugalseg.export.packing import pack_net, pack_runs
from frugalseg.graphs import float_model, float_tensors
from frugalseg.images import read_image, write_image
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import DIVISOR, MEAN, ModelCard
from frugalseg.nets import SegmentationNet, build_net
from frugalseg.nets.onnx_graph import weightless_graph
from frugalseg.processor import model_and_features
from frugalseg.segmentation import resize_image, segment
from frugalseg.shipped import resolve_model
from frugalseg.synthetic import synthetic_glands
from frugalseg.train.weights import load_net

SCALES = {"lite": 0.5, "unet": 0.5, "fcn": 1.0}
GOALS = {"unet": 7.0, "lite": 6.0, "fcn": 4.0}
N_CALIBRATION = 8
SPINNING_S = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="lite,unet,fcn", help="networks, with commas")
    parser.add_argument("--sizes", default="522x775,2048x2048", help="heights and widths of images, with commas")
    parser.add_argument("--repeats", type=int, default=7, help="runs of every way that count")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], help="trained runs to use instead of random nets"
    )
    parser.add_argument("--image", type=Path, help="picture for the whole pipeline, of which each size gets a part")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; needs a C++ compiler")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    runs = {load_net(path)[1].net: path for path in args.run}
    processor = model_and_features()[0] or platform.machine()
    versions = f"torch {torch.__version__}, OpenVINO {openvino.get_version().split('-')[0]}"
    print(f"{processor}, {torch.get_num_threads()} threads; {versions}; medians of {args.repeats}\n")
    for name in args.nets.split(","):
        net, artifact = _packed(name, runs.get(name))
        share = _int8_share(artifact)
        print(f"## {name}\n\n{100 * share:.1f} % of the convolutions' work runs as u8 x i8.\n")
        for size in args.sizes.split(","):
            height, width = map(int, size.split("x"))
            _bench_speed(name, net, artifact, height, width, args)
        _bench_files(net, artifact)


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return synthetic_glands(seed, height=height, width=width).image


def _part(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of the size, repeated where it is too small."""
    times = (-(-height // image.shape[0]), -(-width // image.shape[1]), 1)
    return np.ascontiguousarray(np.tile(image, times)[:height, :width])


def _packed(name: str, run: Path | None) -> tuple[SegmentationNet, Artifact]:
    """The network and its packed model with ranges for INT8."""
    images = [_picture(512, 512, seed) for seed in range(1, N_CALIBRATION + 1)]
    if run is None and name == "lite":
        artifact = read_artifact(resolve_model(Path("glands")))
        net = build_net(name)
        tensors = dict(float_tensors(artifact.members[0]))
        net.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}, strict=False)
        return net.eval(), artifact
    if run is not None:
        net, artifact = load_net(run)[0], pack_runs([run])
    else:
        net = _settled(name, images)
        card = ModelCard(name, ("object",), SCALES[name], None, 100.0, InstanceSettings(min_area=100.0))
        artifact = Artifact(card, net.stride, net.halo_px, "CC0-1.0", (pack_net(net),), weightless_graph(net))
    small = [np.ascontiguousarray(resize_image(image, artifact.card.scale)[:256, :256]) for image in images]
    return net.eval(), calibrate(artifact, small)[0]


def _settled(name: str, images: list[np.ndarray]) -> SegmentationNet:
    """A random network whose batch statistics fit its activations."""
    net = build_net(name, pretrained=True)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(_tensor(np.stack([image[:256, :256] for image in images[:2]])))
    return net.eval()


def _tensor(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() - MEAN) / DIVISOR


def _int8_share(artifact: Artifact) -> float:
    found = executed_convolutions(artifact, 0, 256, 256)
    return sum(each.macs for each in found if each.in_int8) / sum(each.macs for each in found)


def _bench_speed(
    name: str, net: SegmentationNet, artifact: Artifact, height: int, width: int, args: argparse.Namespace
) -> None:
    image = _picture(height, width) if args.image is None else _part(read_image(args.image), height, width)
    scale = artifact.card.scale
    small = resize_image(image, scale)
    stride = artifact.stride
    small = np.ascontiguousarray(np.pad(small, [*((0, -side % stride) for side in small.shape[:2]), (0, 0)], "edge"))
    ways = _ways(net, artifact, small, with_compile=args.compile)
    times = _take_turns(ways, args.repeats)
    base = times["torch eager fp32"]
    print(f"Image {height} x {width}, network's input {small.shape[0]} x {small.shape[1]}:\n")
    print("| network alone | ms | times faster |\n| --- | --- | --- |")
    for way, ms in times.items():
        print(f"| {way} | {ms:.1f} | {base / ms:.2f} |")
    goal, ratio = GOALS.get(name, 0), base / times["ours: OpenVINO INT8"]
    rival = times["OpenVINO + NNCF INT8"] / times["ours: OpenVINO INT8"]
    print(
        f"\nINT8 against torch eager fp32: {ratio:.2f} (goal {goal:g}); speed against NNCF's INT8: {rival:.2f} (0.95)\n"
    )
    pipelines = {
        "ours: OpenVINO INT8": OpenVinoEngine(artifact, precision="int8"),
        "torch eager fp32": TorchEngine(net),
        "torch channels-last bf16": TorchEngine(_channels_last(net), bf16=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.png"
        write_image(file, image)
        wholes = _take_turns(
            {
                way: lambda engine=engine: segment(
                    [engine],
                    read_image(file),
                    scale=scale,
                    settings=artifact.card.instances,
                    stain=artifact.card.stain,
                )
                for way, engine in pipelines.items()
            },
            max(3, args.repeats // 2),
        )
    print("| whole pipeline, file to label map | ms | times faster |\n| --- | --- | --- |")
    for way, ms in wholes.items():
        print(f"| {way} | {ms:.1f} | {wholes['torch eager fp32'] / ms:.2f} |")
    share = wholes["ours: OpenVINO INT8"] / times["ours: OpenVINO INT8"]
    print(f"\nThe pipeline takes {share:.2f} times the network's INT8.\n")


def _channels_last(net: SegmentationNet) -> SegmentationNet:
    import copy

    return copy.deepcopy(net).to(memory_format=torch.channels_last)


def _ways(
    net: SegmentationNet, artifact: Artifact, small: np.ndarray, *, with_compile: bool
) -> dict[str, Callable[[], object]]:
    """Every way of running the network on the image, normalisation included."""
    batch = small[None]
    fast = _channels_last(net)

    def eager() -> object:
        with torch.inference_mode():
            return net(_tensor(batch))

    def bf16() -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return fast(_tensor(batch).contiguous(memory_format=torch.channels_last))

    content = float_model(artifact, artifact.members[0])
    ways: dict[str, Callable[[], object]] = {"torch eager fp32": eager, "torch channels-last bf16": bf16}
    if with_compile:
        compiled = torch.compile(net)

        def inductor() -> object:
            with torch.inference_mode():
                return compiled(_tensor(batch))

        ways["torch.compile fp32"] = inductor
    ways |= {
        "ONNX Runtime fp32": _onnxruntime(content, batch),
        "ONNX Runtime static INT8": _onnxruntime(_static_int8(content, artifact.card.scale), batch),
    }
    for precision in ("fp32", "bf16", "int8"):
        engine = OpenVinoEngine(artifact, precision=precision)  # type: ignore[arg-type]
        prefix = "ours: " if precision == "int8" else ""
        ways[f"{prefix}OpenVINO {precision.replace('int8', 'INT8')}"] = lambda engine=engine: engine.run(batch)
    ways["OpenVINO + NNCF INT8"] = _nncf(content, artifact.card.scale, batch)
    return ways


def _calibration_batches(scale: float) -> list[np.ndarray]:
    images = [np.ascontiguousarray(resize_image(_picture(512, 512, seed), scale)[:256, :256]) for seed in range(1, 9)]
    return [_tensor(image[None]).numpy() for image in images]


def _onnxruntime(content: bytes, batch: np.ndarray) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": _tensor(batch).numpy()})


def _static_int8(content: bytes, scale: float) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(_calibration_batches(scale))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{part}.onnx" for part in ("float", "ready", "int8")]
        paths[0].write_bytes(content)
        quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
        quantize_static(paths[1], paths[2], Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)  # fmt: skip
        return paths[2].read_bytes()


def _nncf_model(content: bytes, scale: float) -> openvino.Model:
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(content, b"")
    return nncf.quantize(model, nncf.Dataset(_calibration_batches(scale)), subset_size=8)


def _nncf(content: bytes, scale: float, batch: np.ndarray) -> Callable[[], object]:
    compiled = openvino.Core().compile_model(_nncf_model(content, scale), "CPU", compile_options("int8", 0))
    request = compiled.create_infer_request()
    return lambda: request.infer([_tensor(batch).numpy()])


def _take_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of every way; all have their turn in each round, after two rounds that do not count.

    Before each turn all wait until threads of the way before, which wait for more work by spinning (OpenMP: 200 ms),
    are asleep; the first run of a turn does not count either, for its data is not in the processor's caches.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 2):
        for way, run in ways.items():
            time.sleep(SPINNING_S)
            run()
            began = time.perf_counter()
            run()
            if turn > 1:
                seconds[way].append(time.perf_counter() - began)
    return {way: 1e3 * statistics.median(values) for way, values in seconds.items()}


def _bench_files(net: SegmentationNet, artifact: Artifact) -> None:
    """Bytes of the same float network in several forms, and how long ours takes to load from cold."""
    content = float_model(artifact, artifact.members[0])
    floats = {key: value.contiguous() for key, value in net.state_dict().items() if value.is_floating_point()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_file(floats, folder / "fp32.safetensors")
        save_file({key: value.half() for key, value in floats.items()}, folder / "fp16.safetensors")
        write_artifact(folder / "float.fseg", artifact)
        (folder / "int8.onnx").write_bytes(_static_int8(content, artifact.card.scale))
        openvino.save_model(_nncf_model(content, artifact.card.scale), folder / "nncf.xml")
        sizes = {
            "fp32 safetensors": (folder / "fp32.safetensors").stat().st_size,
            "fp16 safetensors": (folder / "fp16.safetensors").stat().st_size,
            "ours, these weights": (folder / "float.fseg").stat().st_size,
            "ONNX Runtime static INT8": (folder / "int8.onnx").stat().st_size,
            "NNCF INT8, OpenVINO's files": sum((folder / f"nncf{end}").stat().st_size for end in (".xml", ".bin")),
        }
        print("| file | bytes | times smaller |\n| --- | --- | --- |")
        for form, size in sizes.items():
            print(f"| {form} | {size:,} | {sizes['fp32 safetensors'] / size:.2f} |")
        load = (
            "import sys, time; t = time.perf_counter(); from pathlib import Path\n"
            "from frugalseg.predict import load_model\n"
            "load_model([Path(sys.argv[1])], precision='int8'); print(time.perf_counter() - t)"
        )
        times = [_timed(load, folder / "float.fseg", folder / "cache") for _ in range(3)]
    print(
        f"\nLoading ours in a new process, imports included: {times[0]:.2f} s at first, {min(times[1:]):.2f} s then.\n"
    )


def _timed(program: str, path: Path, cache: Path) -> float:
    import os

    environment = {**os.environ, "FRUGALSEG_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True,
                          check=True)  # fmt: skip
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
