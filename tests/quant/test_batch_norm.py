"""Statistics measured anew, against torch's own way and by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from frugalseg.quant.batch_norm import reestimate_batch_norm

from .builders import small_net


def test_mean_and_variance_by_hand() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1))
    batches = [torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1), torch.tensor([10.0, 14.0]).reshape(2, 1, 1, 1)]
    assert reestimate_batch_norm(net, batches) == 2
    assert net[0].running_mean.item() == 7  # of 2 and 12
    assert net[0].running_var.item() == 5  # of 2 and 8, each over n - 1


def test_as_torch_does_it() -> None:
    net = small_net()
    other = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(2, 3, 8, 8, generator=generator) + 3 for _ in range(4)]
    reestimate_batch_norm(net, iter(batches))
    update_bn(batches, other)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])
    assert not torch.allclose(net[1].running_mean, small_net()[1].running_mean)


def test_nothing_else_changes() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.25), nn.Dropout(0.5), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    net[2].train()
    x = torch.randn(4, 3, 2, 2)
    reestimate_batch_norm(net, [x])
    assert [module.training for module in net.modules()] == [False, False, False, True, False]
    assert [net[0].momentum, net[3].momentum] == [0.25, 0.1]
    # dropout was off: the second norm saw what the convolution gives of the first norm's output
    with torch.no_grad():
        seen = net[2](nn.functional.batch_norm(x, None, None, net[0].weight, net[0].bias, training=True))
    torch.testing.assert_close(net[3].running_mean, seen.mean(dim=(0, 2, 3)))


def test_no_batch_leaves_the_statistics() -> None:
    net = small_net()
    net(torch.randn(2, 3, 8, 8))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="no batch"):
        reestimate_batch_norm(net, [])
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(module.training for module in net.modules())
    assert net[1].momentum == 0.1


def test_a_network_without_norms_draws_no_batch() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("a batch was drawn")

    assert reestimate_batch_norm(nn.Conv2d(1, 1, 1), (never() for _ in range(1))) == 0
