"""``frugalseg doctor``: versions, processor, memory, optional parts and how to get them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print what was found as a table, unless ``--json`` will print it as a document."""
    from frugalseg.doctor import examine

    found = examine(Path.cwd())
    if not args.json:
        _print(found)
    return found


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, escape(value))
    Console(highlight=False).print(table)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and words of every line."""
    for name, version in found["versions"].items():
        yield name, version or "missing: pip install --upgrade frugalseg"
    processor, torch, memory = found["processor"], found["torch"], found["memory"]
    yield "processor", processor["model"]
    features = processor["features"]
    yield "  features", "unknown here" if features is None else ", ".join(features) or "none that matter"
    usable = processor["threads_usable"]
    yield (
        "  cores",
        f"{processor['cores'] or 'unknown'}, with {processor['threads']} threads, {usable} for this process",
    )
    if torch["error"] is not None:
        yield "torch", f"does not load: {torch['error']}"
    else:
        bf16 = "trains in bf16" if torch["bf16"] else "no fast bf16: trains in fp32"
        yield "torch uses", f"{torch['threads']} threads, {torch['capability']}, {bf16}"
        gpus = [f"{gpu['name']}, {_gigabytes(gpu['total_bytes'])}" for gpu in torch["gpus"]]
        yield "CUDA device", "; ".join(gpus) or "none (the processor does the work)"
    yield "memory", f"{_gigabytes(memory['free_bytes'])} free of {_gigabytes(memory['total_bytes'])}"
    yield "disk", f"{_gigabytes(found['disk']['free_bytes'])} free in {found['disk']['folder']}"
    yield "training lock", found["folders"]["lock"]
    yield (
        "test data",
        found["folders"]["test_data"] or "FRUGALSEG_DATA names no folder (only tests on real images need it)",
    )
    for part in found["parts"]:
        state = "found" if part["found"] else f"missing: {part['how']}"
        yield "optional", f"{part['name']}: {state} ({part['purpose']})"


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
