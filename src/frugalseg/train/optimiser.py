"""The optimiser, its rate over the steps, and the averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugalseg.nets import SegmentationNet
from frugalseg.train.config import TrainConfig


def build_optimiser(net: SegmentationNet, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, ICLR 2019); pretrained layers learn slower, biases and norms do not decay."""
    pretrained = {id(parameter) for parameter in net.encoder_parameters()} if config.pretrained else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in net.parameters():
        rate = config.encoder_rate if id(parameter) in pretrained else 1.0
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "rate_factor": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
        foreach=True,
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group `rate` times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_factor"]


@dataclass(frozen=True)
class Course:
    """What happens over the steps beside the gradient: the rate's cycles, and what begins each of them.

    Attributes
    ----------
    n_cycles
        The steps are cut into so many cycles of about equal length; in each the rate rises and falls anew.
    begin
        Called with the cycle's number, the network and its average before the cycle's first step; may change the
        network. The average then restarts from the network, and the optimiser forgets its momenta.
    penalty
        Added to the loss of each batch: something of the network alone.
    """

    n_cycles: int = 1
    begin: Callable[[int, SegmentationNet, AveragedNet], None] | None = None
    penalty: Callable[[SegmentationNet], Tensor] | None = None

    def cycle_at(self, step: int, steps: int) -> tuple[int, int, int]:
        """Number, first step and length of the cycle that `step` (from 0) of `steps` lies in."""
        cycle = min(self.n_cycles - 1, step * self.n_cycles // max(1, steps))
        first, last = (-(-number * steps // self.n_cycles) for number in (cycle, cycle + 1))
        return cycle, first, last - first


def rate_at(step: int, config: TrainConfig, course: Course | None = None) -> float:
    """Learning rate of `step`, counted from 0: a linear rise, then half a cosine down to a hundredth of the peak.

    With several cycles, the same in each.
    """
    _, first, steps = (course or Course()).cycle_at(step, config.steps)
    step -= first
    rise = max(1, round(config.warmup * steps))
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class AveragedNet:
    """A network whose weights and statistics are the exponential moving average of another's.

    Attributes
    ----------
    net
        The averaged network, never trained itself.
    """

    def __init__(self, net: SegmentationNet, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay

    def restart(self, net: SegmentationNet) -> None:
        """Forget the past: the average is `net` as it is now."""
        self.net.load_state_dict(net.state_dict())

    @torch.no_grad()
    def update(self, net: SegmentationNet, n_updates: int) -> None:
        """Move towards `net`; `n_updates` earlier ones make the average slower, so that the start is soon forgotten."""
        share = 1.0 - min(self.decay, (1 + n_updates) / (10 + n_updates))
        mine, theirs = self.net.state_dict(), net.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in floats], [theirs[name] for name in floats], share)
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])
