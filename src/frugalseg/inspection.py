"""How many bits a trained network takes, layer by layer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.errors import InputError
from frugalseg.quant import layer_reports
from frugalseg.quant.layers import to_codes
from frugalseg.train.folder import read_config
from frugalseg.train.run import load_net


def inspect_run(folder: Path) -> dict[str, Any]:
    """Bits, levels, entropy and bytes of every layer of a run folder's network, and totals.

    Returns
    -------
    ``layers``: one dict for each quantized weight (see :class:`frugalseg.quant.LayerReport`, with ``scale_bytes``).
    ``relative_rmse`` there is against the float run that the phase began from, None where that lies elsewhere now.
    ``totals``: ``n_values`` counts every stored number, weights, biases and the statistics of batch normalisation;
    ``mean_bits`` and ``ratio_to_float32`` are over all of them, with codes packed plainly (``bytes``) or at their
    entropy (``entropy_bytes``, what an ideal coder would reach).
    """
    net, card = load_net(folder)
    tensors = to_codes(net)
    layers = []
    for report in layer_reports(tensors, _float_weights(folder)):
        tensor = tensors[report.name]
        n_scales = tensor.scale.size + (0 if tensor.negative_scale is None else tensor.negative_scale.size)
        layers.append({**asdict(report), "scale_bytes": 4 * n_scales})
    quantized = {name.removesuffix(".weight") for name in tensors}
    floats = sum(
        value.numel()
        for name, value in net.state_dict().items()
        if value.is_floating_point() and not any(name.startswith(f"{layer}.parametrizations.") for layer in quantized)
    )
    n_values = floats + sum(layer["n_weights"] for layer in layers)
    rest = 4 * floats + sum(layer["scale_bytes"] for layer in layers)
    packed = rest + sum(layer["packed_bytes"] for layer in layers)
    entropy = rest + sum(layer["entropy"] * layer["n_weights"] / 8 for layer in layers)
    return {
        "net": card.net,
        "quantization": None if card.quantization is None else asdict(card.quantization),
        "layers": layers,
        "totals": {
            "n_values": n_values,
            "n_float_values": floats,
            "float32_bytes": 4 * n_values,
            "bytes": packed,
            "entropy_bytes": round(entropy),
            "mean_bits": 8 * packed / n_values,
            "mean_entropy_bits": 8 * entropy / n_values,
            "ratio_to_float32": 4 * n_values / packed,
            "entropy_ratio_to_float32": 4 * n_values / entropy,
        },
    }


def _float_weights(folder: Path) -> dict[str, NDArray[np.float32]] | None:
    """Weights of the float run that a quantized one began from, by tensor name; None where it is gone."""
    source = read_config(folder).get("source")
    if source is None:
        return None
    try:
        net, card = load_net(Path(source["run"]))
    except InputError:
        return None
    if card.quantization is not None:
        return None
    return {name: value.numpy() for name, value in net.state_dict().items()}
