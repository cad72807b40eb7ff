"""Every network takes every quantizer, under bf16 autocast too."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from frugalseg.nets import NETS, SegmentationNet, build_net
from frugalseg.quant import METHODS, Granularity, Method, QuantSpec
from frugalseg.quant.freezing import advance_portion
from frugalseg.quant.layers import bake, effective_weights, quantize_module, quantizers, to_codes
from frugalseg.train.optimiser import AveragedNet


@lru_cache(maxsize=1)
def state_of(name: str) -> dict[str, torch.Tensor]:
    return build_net(name).state_dict()


def net_of(name: str) -> SegmentationNet:
    with torch.device("meta"):
        net = NETS[name](1)
    net.load_state_dict({key: value.clone() for key, value in state_of(name).items()}, assign=True)
    return net


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sorted(NETS))
def test_network_runs_and_bakes(name: str, method: Method) -> None:
    net = net_of(name).eval()
    names = quantize_module(net, QuantSpec.of(method))
    assert len(names) == sum(isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for module in net.modules())
    if method == "inq":
        advance_portion(net, 1.0)
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        logits = net(x)
        assert logits.shape == (1, 3, 40, 56)
        assert bool(logits.isfinite().all())
        assert torch.equal(bake(net)(x), logits)


@pytest.mark.parametrize("granularity", ["layer", "channel"])
@pytest.mark.parametrize("method", METHODS)
def test_lite_learns_under_autocast_and_its_codes_are_exact(method: Method, granularity: Granularity) -> None:
    """Its depthwise convolutions take the weight through an autograd function of their own."""
    net = net_of("lite").to(memory_format=torch.channels_last).train()
    quantize_module(net, QuantSpec.of(method, granularity=granularity))
    average = AveragedNet(net, 0.9)
    if method == "inq":
        advance_portion(net, 0.5)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 3, 32, 32)).float().square().mean().backward()
    depthwise = [name for name, (layer, _) in quantizers(net).items() if layer.groups > 1]
    assert len(depthwise) == 16
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    for name in depthwise:
        gradient = gradients[f"{name}.parametrizations.weight.original"]
        assert gradient is not None
        assert bool(gradient.isfinite().all())
    optimiser.step()
    average.update(net, 0)
    if method == "inq":
        advance_portion(net, 1.0, source=average.net)
    weights, codes = effective_weights(net), to_codes(net)
    for name, weight in weights.items():
        exact = torch.from_numpy(codes[name].dequantize()).view(torch.int32)
        assert torch.equal(exact, weight.contiguous().view(torch.int32)), name
