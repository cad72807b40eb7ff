"""What every network must do, whatever is inside; a new line in ``NETS`` is tested without a new test."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from frugalseg.nets import NETS, SegmentationNet, build_net, probabilities

CLASSES = (1, 3)
ODD_SIZES = ((1, 1), (7, 45), (65, 33))
STRIP_PX = 2048
"""Length of the strip on which receptive fields are measured; more than twice the widest."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def images(height: int, width: int, n: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, height, width, generator=generator) * 2 - 1


def one_channel(net: SegmentationNet) -> SegmentationNet:
    """`net` with the same wiring, linear, one channel wide and all weights positive, in float64.

    What an output of it depends on is what the real one can depend on: nothing cancels, no maximum hides its rivals.
    """
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.BatchNorm2d, nn.ReLU, nn.ReLU6)):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight = nn.Parameter(torch.full((1, 1, *module.kernel_size), 1 / math.prod(module.kernel_size)))
            module.bias, module.groups = None, 1
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].mean(1, keepdim=True),))
    return net.double().eval()


def radius_px(net: SegmentationNet) -> int:
    """Largest distance, to either side, between an output pixel and an input pixel that it depends on."""
    net = one_channel(net)
    strip = torch.zeros(1, 3, net.stride, STRIP_PX, dtype=torch.float64, requires_grad=True)
    logits = net(strip)
    middle = STRIP_PX // 2 // net.stride * net.stride
    radii = []
    for column in range(middle, middle + net.stride):  # each place in the grid of the coarsest maps
        (gradient,) = torch.autograd.grad(logits[0, 0, :, column].sum(), strip, retain_graph=True)
        seen = gradient.abs().sum(dim=(0, 1, 2)).nonzero()[:, 0]
        radii += [column - int(seen.min()), int(seen.max()) - column]
    return max(radii)


@pytest.mark.parametrize("name", sorted(NETS))
class TestEveryNetwork:
    @pytest.mark.parametrize("n_classes", CLASSES)
    def test_logits_are_of_the_images_size_whatever_it_is(self, name: str, n_classes: int) -> None:
        net = build_net(name, n_classes).eval()
        with torch.inference_mode():
            for height, width in ODD_SIZES:
                x = images(height, width)
                before = x.clone()
                logits = net(x)
                assert logits.shape == (1, n_classes + 2, height, width)
                assert net.n_outputs == n_classes + 2
                assert logits.isfinite().all()
                assert torch.equal(x, before), "inputs are never modified"
                assert net.descriptor(x).shape == (1, net.descriptor_channels)
                maps = probabilities(logits)
                torch.testing.assert_close(maps[:, :-1].sum(dim=1), torch.ones(1, height, width))
                assert ((maps >= 0) & (maps <= 1)).all()

    def test_no_classes_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="n_classes must be at least 1, not 0"):
            build_net(name, 0)

    def test_weights_follow_from_the_seed_and_torchs_generator_stays(self, name: str) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = build_net(name, seed=3).state_dict()
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(6)
        again, other = build_net(name, seed=3).state_dict(), build_net(name, seed=4).state_dict()
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not torch.equal(next(iter(first.values())), next(iter(other.values())))

    def test_weights_survive_a_file(self, name: str, tmp_path: Path) -> None:
        net, other = build_net(name, seed=1).eval(), build_net(name, seed=2).eval()
        save_file(net.state_dict(), tmp_path / "net.safetensors")
        other.load_state_dict(load_file(tmp_path / "net.safetensors"))
        x = images(40, 50)
        with torch.inference_mode():
            assert torch.equal(net(x), other(x))
            with pytest.raises(RuntimeError, match="size mismatch"):
                build_net(name, 2).load_state_dict(net.state_dict())

    def test_can_be_exported(self, name: str) -> None:
        net = build_net(name).eval()
        x = images(net.stride, 2 * net.stride - 5)
        with torch.no_grad():
            exported = torch.export.export(net, (x,)).module()
            torch.testing.assert_close(exported(x), net(x), rtol=1e-4, atol=1e-5)

    def test_memory_order_changes_nothing(self, name: str) -> None:
        net = build_net(name).eval()
        x = images(70, 90)
        with torch.inference_mode():
            expected = net(x)
            swapped = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(swapped, expected, rtol=1e-3, atol=1e-4)

    def test_gradients_reach_every_parameter(self, name: str) -> None:
        net = build_net(name).train()
        net(images(2 * net.stride, 2 * net.stride, n=2)).square().sum().backward()
        for parameter_name, parameter in net.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.abs().max() > 0, parameter_name

    def test_encoder_parameters_are_the_networks_own(self, name: str) -> None:
        net = build_net(name)
        own = {id(parameter) for parameter in net.parameters()}
        encoder = [id(parameter) for parameter in net.encoder_parameters()]
        assert len(encoder) == len(set(encoder))
        assert set(encoder) < own

    def test_halo_is_the_receptive_fields_radius_rounded_up_to_the_stride(self, name: str) -> None:
        """A smaller one would make tiles differ from the whole image, a larger one would only cost time."""
        net = build_net(name)
        radius = radius_px(net)
        assert radius < STRIP_PX // 2 - net.stride, "the strip is too short to measure this network"
        assert net.halo_px == math.ceil(radius / net.stride) * net.stride

    def test_no_pixel_sees_further_than_the_halo(self, name: str) -> None:
        """The same with the real weights: noise beyond the halo leaves the logits alone, noise within does not."""
        net = build_net(name).eval()
        x = images(net.stride, math.ceil((net.halo_px + 2 * net.stride) / net.stride) * net.stride)
        near, far = x.clone(), x.clone()
        near[..., net.stride // 2 :] = 0
        far[..., net.stride + net.halo_px :] = 0  # the first `stride` columns see no further than this
        with torch.inference_mode():
            logits, with_far, with_near = (net(each)[..., : net.stride] for each in (x, far, near))
        assert not torch.equal(x, far)
        torch.testing.assert_close(with_far, logits, rtol=1e-4, atol=1e-5)
        assert (with_near - logits).abs().max() > 1e-3


def test_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match="unknown network 'vnet'; there are fcn, lite, unet"):
        build_net("vnet")
