"""How many bits a trained network takes, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.artifact import Artifact, FormatError, read_artifact, read_sizes
from frugalseg.errors import InputError
from frugalseg.quant import QuantizedTensor, layer_reports


def inspect_model(path: Path) -> dict[str, Any]:
    """Bits, levels, entropy and bytes of every layer of a run folder's network or of a packed file, and totals.

    Returns
    -------
    ``layers``: one dict for each quantized weight (see :class:`frugalseg.quant.LayerReport`, with ``scale_bytes``).
    ``relative_rmse`` there is against the float run that the phase began from, None where that lies elsewhere now,
    and for packed files.
    ``totals``: ``n_values`` counts every stored number, weights, biases and the statistics of batch normalisation;
    ``mean_bits`` and ``ratio_to_float32`` are over all of them, with codes packed plainly (``bytes``) or at their
    entropy (``entropy_bytes``, what an ideal coder would reach).
    ``file``, of packed files only: its bytes, everything included, its members, and how it runs in INT8.
    """
    if not path.exists():
        raise InputError(path, "no such model")
    return _inspect_file(path) if path.is_file() else _inspect_run(path)


def _inspect_run(folder: Path) -> dict[str, Any]:
    from frugalseg.quant.layers import to_codes
    from frugalseg.train.weights import load_net

    net, card = load_net(folder)
    tensors = to_codes(net)
    quantized = {name.removesuffix(".weight") for name in tensors}
    n_floats = sum(
        value.numel()
        for name, value in net.state_dict().items()
        if value.is_floating_point() and not any(name.startswith(f"{layer}.parametrizations.") for layer in quantized)
    )
    return {
        "net": card.net,
        "quantization": None if card.quantization is None else asdict(card.quantization),
        **_tables([tensors], n_floats, 4 * n_floats, _float_weights(folder)),
    }


def _inspect_file(path: Path) -> dict[str, Any]:
    artifact, sizes = read_artifact(path), read_sizes(path)
    floats = [array for member in artifact.members for array in member.floats.values()]
    n_floats, float_bytes = sum(array.size for array in floats), sum(array.nbytes for array in floats)
    spec = artifact.card.quantization
    return {
        "net": artifact.card.net,
        "quantization": None if spec is None else asdict(spec),
        **_tables([member.quantized for member in artifact.members], n_floats, float_bytes, None),
        "file": {
            "bytes": sizes.file_bytes,
            "header_bytes": sizes.header_bytes,
            "graph_bytes": sizes.graph_bytes,
            "ratio_to_float32": sizes.ratio_to_float32,
            "members": len(artifact.members),
            "licence": artifact.licence,
            "int8": _int8(artifact, path),
        },
    }


def _int8(artifact: Artifact, path: Path) -> dict[str, Any] | None:
    """How well the weights fit into 8 bits; None where the file holds no ranges of activations."""
    if artifact.graph is None or not all(member.activations for member in artifact.members):
        return None
    from frugalseg.graphs import int8_model

    try:
        layers = [layer for member in artifact.members for layer in int8_model(artifact, member)[1]]
    except FormatError as fault:
        raise InputError(path, str(fault)) from None
    return {
        "layers": len(layers),
        "exact_channels": sum(layer.exact_channels for layer in layers),
        "channels": sum(layer.n_channels for layer in layers),
        "largest_relative_rmse": max((layer.relative_rmse for layer in layers), default=0.0),
    }


def _tables(
    members: list[Mapping[str, QuantizedTensor]],
    n_floats: int,
    float_bytes: int,
    reference: Mapping[str, NDArray[np.float32]] | None,
) -> dict[str, Any]:
    """``layers`` and ``totals`` of networks with these codes and so many float numbers, of so many bytes, beside."""
    layers = []
    for index, tensors in enumerate(members):
        prefix = f"{index}/" if len(members) > 1 else ""
        for report in layer_reports(tensors, reference):
            tensor = tensors[report.name]
            n_scales = tensor.scale.size + (0 if tensor.negative_scale is None else tensor.negative_scale.size)
            layers.append({**asdict(report), "name": prefix + report.name, "scale_bytes": 4 * n_scales})
    n_values = n_floats + sum(layer["n_weights"] for layer in layers)
    rest = float_bytes + sum(layer["scale_bytes"] for layer in layers)
    packed = rest + sum(layer["packed_bytes"] for layer in layers)
    entropy = rest + sum(layer["entropy"] * layer["n_weights"] / 8 for layer in layers)
    return {
        "layers": layers,
        "totals": {
            "n_values": n_values,
            "n_float_values": n_floats,
            "float32_bytes": 4 * n_values,
            "bytes": packed,
            "entropy_bytes": round(entropy),
            "mean_bits": 8 * packed / max(n_values, 1),
            "mean_entropy_bits": 8 * entropy / max(n_values, 1),
            "ratio_to_float32": 4 * n_values / max(packed, 1),
            "entropy_ratio_to_float32": 4 * n_values / max(entropy, 1),
        },
    }


def _float_weights(folder: Path) -> dict[str, NDArray[np.float32]] | None:
    """Weights of the float run that a quantized one began from, by tensor name; None where they are gone."""
    from frugalseg.train.folder import read_config
    from frugalseg.train.weights import describe_source, load_net

    try:
        document = read_config(folder)
        source = document.get("source")
        if (
            not isinstance(source, dict) or document.get("quantize") is None
        ):  # a float run may have begun from any model
            return None
        folder = Path(source["run"])
        net, card = load_net(folder)
        if describe_source(folder)["sha256"] != source["sha256"]:  # another run has been put there
            return None
    except (InputError, OSError, KeyError, TypeError):
        return None
    if card.quantization is not None:
        return None
    return {name: value.numpy() for name, value in net.state_dict().items()}
