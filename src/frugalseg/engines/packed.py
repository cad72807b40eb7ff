"""Engines for a packed model: which one, in which precision, on this processor."""

from __future__ import annotations

import logging
from typing import Literal

from frugalseg.artifact import Artifact, FormatError
from frugalseg.engines import Engine
from frugalseg.errors import ConfigError, InputError
from frugalseg.processor import Precision, asked_threads, model_and_features

log = logging.getLogger(__name__)

PackedEngine = Literal["openvino", "onnxruntime"]

INT8_FEATURES = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "arm_i8mm"})
"""Instructions that multiply bytes into 32-bit sums; without them INT8 gains little and may saturate."""

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "arm_bf16"})


def packed_engines(
    artifact: Artifact,
    name: str,
    *,
    engine: PackedEngine = "openvino",
    precision: Precision | Literal["auto"] = "auto",
    threads: int = 0,
    digest: str | None = None,
) -> tuple[Engine, ...]:
    """One engine for each member of a packed model; errors call it `name`.

    Parameters
    ----------
    precision
        ``auto`` is INT8 where the model has ranges for it and the processor the instructions, else bf16 where the
        processor has that, else fp32.
    digest
        Of the model's content, under which compiled networks are kept on disk.

    Raises
    ------
    InputError
        The model holds no graph, or no ranges where INT8 was asked for.
    ConfigError
        The engine is not installed, or cannot do what was asked for.
    """
    if artifact.graph is None:
        raise InputError(name, "holds no graph, so that only its own network can run it")
    chosen = choose_precision(artifact, name, precision, engine)
    members = range(len(artifact.members))
    try:
        return tuple(_engine(artifact, member, engine, chosen, threads, digest) for member in members)
    except FormatError as fault:
        raise InputError(name, str(fault)) from None
    except Exception as error:
        if not isinstance(error, RuntimeError) and not type(error).__module__.startswith("onnxruntime"):
            raise  # OpenVINO raises RuntimeError, ONNX Runtime its own kinds, derived from nothing narrower
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InputError(name, f"{engine} cannot run it: {lines[-1][:200]}") from None


def _engine(
    artifact: Artifact, member: int, engine: PackedEngine, precision: Precision, threads: int, digest: str | None
) -> Engine:
    threads = threads or asked_threads()
    if engine == "onnxruntime":
        try:
            from frugalseg.engines.onnxruntime import OnnxRuntimeEngine
        except ImportError:
            raise ConfigError("engine", "onnxruntime is not installed: pip install 'frugalseg[onnxruntime]'") from None
        return OnnxRuntimeEngine(artifact, member, precision=precision, threads=threads)
    from frugalseg.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(artifact, member, precision=precision, threads=threads, digest=digest)


def choose_precision(
    artifact: Artifact, name: str, asked: Precision | Literal["auto"], engine: PackedEngine = "openvino"
) -> Precision:
    """The arithmetic that will be used; says so where it is not the fastest that the model allows."""
    has_ranges = all(member.activations for member in artifact.members)
    if asked == "int8" and not has_ranges:
        raise InputError(name, "holds no ranges for INT8; export it again with images to calibrate on")
    if asked != "auto":
        return asked
    known = model_and_features()[1]
    features = set(known or ())
    fallback: Precision = "bf16" if engine == "openvino" and features & BF16_FEATURES else "fp32"
    if not has_ranges:
        return fallback
    if not features & INT8_FEATURES:
        why = (
            "the processor has no VNNI instructions" if known is not None else "nothing tells the processor's features"
        )
        log.info("%s: %s runs in %s, not INT8 (--precision int8 insists)", why, name, fallback)
        return fallback
    return "int8"
