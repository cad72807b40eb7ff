"""Networks that another one imitates while it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frugalseg.nets import SegmentationNet


@dataclass(frozen=True, eq=False)
class Teachers:
    """Networks whose mean probabilities a student imitates, and the share of its loss that comes from there."""

    nets: Sequence[SegmentationNet]
    share: float

    def to(self, device: torch.device) -> None:
        """Bring the networks to a device, in evaluation mode."""
        for net in self.nets:
            net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.no_grad()
    def probabilities(self, inputs: Tensor) -> Tensor:
        """Mean probabilities (N, C + 2, H, W), float32: background and classes, which sum to 1, and the border."""
        total: Tensor | None = None
        for net in self.nets:
            logits = net(inputs).float()
            found = torch.cat([logits[:, :-1].softmax(dim=1), logits[:, -1:].sigmoid()], dim=1)
            total = found if total is None else total + found
        assert total is not None  # there is at least one
        return total / len(self.nets)
