"""A real network gives the same map for a tiled image as for the whole one: its halo covers what it sees."""

import numpy as np
import pytest
import torch

from frugalseg.engines.torch import TorchEngine
from frugalseg.nets import NETS, build_net
from frugalseg.segmentation import probability_map


@pytest.mark.parametrize("name", sorted(NETS))
def test_tiled_equals_whole(name):
    net = build_net(name, seed=3)
    torch.manual_seed(0)
    for module in net.modules():  # statistics of a trained network, so that every layer passes something on
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    core = net.stride
    width = 2 * net.halo_px + 4 * core + 5
    image = np.random.default_rng(0).integers(0, 256, (core - 3, width, 3), dtype=np.uint8)
    engine = TorchEngine(net)
    whole = probability_map(engine, image, core_px=10_000)
    tiled = probability_map(engine, image, core_px=core)
    np.testing.assert_allclose(tiled, whole, atol=1e-4)
    if name != "fcn":  # its far context hardly moves an untrained output
        cut = probability_map(engine, image, core_px=core, halo_px=0)
        assert np.abs(cut - whole).max() > 1e-3
