"""What the doctor says about this machine, and about machines unlike it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frugalseg import doctor, processor
from frugalseg.cli import main

INTEL = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"


def test_cpuinfo_of_two_makers() -> None:
    model, flags = processor.parse_cpuinfo(INTEL)
    assert model == "Intel(R) Xeon(R) Platinum 8488C"
    assert flags is not None
    assert {"avx512_vnni", "amx_int8"} <= flags
    assert processor.parse_cpuinfo(ARM) == (None, frozenset({"fp", "asimd", "bf16", "i8mm"}))
    assert processor.parse_cpuinfo("") == (None, None)


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (INTEL, ["avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"]),
        (ARM, ["neon", "arm_bf16", "arm_i8mm"]),
        ("", None),
    ],
)
def test_features_are_named(text: str, features: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_read_cpuinfo", lambda: text)
    found = doctor.examine(Path.cwd())["processor"]
    assert found["features"] == features
    assert found["model"]


def test_facts_agree_with_other_sources(tmp_path: Path) -> None:
    import torch

    found = doctor.examine(tmp_path)
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["torch"]["threads"] == torch.get_num_threads()
    assert len(found["torch"]["gpus"]) == torch.cuda.device_count()
    assert found["processor"]["threads"] == os.cpu_count()
    assert 0 < found["memory"]["free_bytes"] <= found["memory"]["total_bytes"]
    assert found["disk"]["folder"] == str(tmp_path)
    assert found["usable"] is True


def test_optional_part_missing_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = doctor.Part(name="Thing", module="no_such_module_anywhere", extra="thing", purpose="for what")
    present = doctor.Part(name="Numbers", module="numpy", extra="numbers", purpose="counting")
    monkeypatch.setattr(doctor, "PARTS", (missing, present))
    assert main(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Thing: missing: pip install 'frugalseg[thing]' (for what)" in said
    assert "Numbers: found (counting)" in said


def test_extras_of_the_parts_exist_in_the_package() -> None:
    extras = importlib.metadata.metadata("frugalseg").get_all("Provides-Extra") or []
    assert {part.extra for part in doctor.PARTS} <= set(extras)


def test_torch_that_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libgomp.so.1 is missing')\n")
    done = subprocess.run(
        [sys.executable, "-m", "frugalseg", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["torch"]["error"] == "libgomp.so.1 is missing"
    assert document["usable"] is False


def test_test_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(doctor.DATA_VARIABLE, str(tmp_path))
    assert doctor.examine(tmp_path)["folders"]["test_data"] == str(tmp_path)
    monkeypatch.setenv(doctor.DATA_VARIABLE, str(tmp_path / "none"))
    assert doctor.examine(tmp_path)["folders"]["test_data"] is None
