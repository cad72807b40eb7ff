"""Layouts of output channels, dequantization and reports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from frugalseg.quant import ChannelLayout, QuantizedTensor, layer_reports


@pytest.mark.parametrize(
    ("transposed", "groups"), [(False, 1), (False, 2), (False, 6), (True, 1), (True, 2), (True, 6)]
)
def test_a_channels_scale_scales_its_output_and_no_other(transposed: bool, groups: int) -> None:
    """Torch itself says which weights belong to an output channel."""
    torch.manual_seed(0)
    n_in, n_out = 6, 12
    shape = (n_in, n_out // groups, 2, 2) if transposed else (n_out, n_in // groups, 2, 2)
    weight, x = torch.randn(shape), torch.randn(1, n_in, 5, 5)
    layout = ChannelLayout.of(shape, "channel", transposed=transposed, groups=groups)
    assert (layout.n_groups, layout.n_shared) == (n_out, weight.numel() // n_out)
    scale = torch.arange(1.0, n_out + 1)
    scaled = (weight.reshape(layout.view) * scale.reshape(layout.group_shape)).reshape(shape)
    run = F.conv_transpose2d if transposed else F.conv2d
    expected = run(x, weight, groups=groups) * scale.reshape(1, -1, 1, 1)
    torch.testing.assert_close(run(x, scaled, groups=groups), expected)


def test_layer_layout_shares_one_scale() -> None:
    layout = ChannelLayout.of((4, 3, 2, 2), "layer", transposed=True, groups=2)
    assert (layout.n_groups, layout.n_shared, layout.group_shape) == (1, 48, (1, 1, 1, 1))


def tensor(**changes: object) -> QuantizedTensor:
    settings: dict[str, object] = {
        "bits": 2,
        "codes": np.array([[0, 1, 2], [2, 2, 1]], dtype=np.uint8),
        "levels": np.array([-1, 0, 1], dtype=np.float32),
        "scale": np.array([0.5, 3.0], dtype=np.float32),
        "layout": ChannelLayout.of((2, 3), "channel"),
    }
    return QuantizedTensor(**(settings | changes))


def test_dequantize_by_hand() -> None:
    assert tensor().dequantize().tolist() == [[-0.5, 0, 0.5], [3, 3, 0]]
    below = np.array([0.25, 9.0], dtype=np.float32)
    assert tensor(negative_scale=below).dequantize().tolist() == [[-0.25, 0, 0.5], [3, 3, 0]]
    assert tensor().dequantize().dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"codes": np.zeros((3, 2), dtype=np.uint8)}, "do not fit"),
        ({"codes": np.full((2, 3), 3, dtype=np.uint8)}, "a code of 3 among 3 levels"),
        ({"scale": np.ones(3, dtype=np.float32)}, "3 scales for 2 groups"),
        ({"negative_scale": np.ones(1, dtype=np.float32)}, "1 scales for 2 groups"),
        ({"bits": 1}, "3 levels for 1 bits"),
        ({"levels": np.empty(0, dtype=np.float32)}, "0 levels"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tensor(**changes)


def test_report_by_hand() -> None:
    reference = np.array([[-0.5, 0, 1.5], [3, 2, 0]], dtype=np.float32)  # off by 0, 0, 1, 0, 1, 0
    [report] = layer_reports({"a.weight": tensor()}, {"a.weight": reference})
    assert (report.name, report.bits, report.n_weights, report.n_levels, report.levels_used) == ("a.weight", 2, 6, 3, 3)
    assert report.packed_bytes == 2
    assert report.entropy == pytest.approx(1 / 6 * np.log2(6) + 1 / 3 * np.log2(3) + 1 / 2)
    assert report.relative_rmse == pytest.approx(np.sqrt(2 / (0.25 + 2.25 + 9 + 4)))
    assert layer_reports({"a.weight": tensor()})[0].relative_rmse is None
    assert layer_reports({"a.weight": tensor()}, {"a.weight": np.zeros((2, 3))})[0].relative_rmse is None
