"""Run a network with torch, in fp32 or under bf16 autocast."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from frugalseg.model_files import DIVISOR, MEAN
from frugalseg.nets import SegmentationNet, probabilities


class TorchEngine:
    """Engine over a torch network, which is put into evaluation mode for each run and back after it.

    Parameters
    ----------
    net
        The network, on the device it shall run on.
    bf16
        Run convolutions in bfloat16, where the processor or the GPU has it.
    """

    def __init__(self, net: SegmentationNet, *, bf16: bool = False) -> None:
        self.net = net
        self.bf16 = bf16

    @property
    def stride(self) -> int:
        return self.net.stride

    @property
    def halo_px(self) -> int:
        return self.net.halo_px

    @property
    def how(self) -> str:
        return f"torch {'bf16' if self.bf16 else 'fp32'} {next(self.net.parameters()).device.type}"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.describe(images)[0]

    def describe(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        device = next(self.net.parameters()).device
        was_training = self.net.training
        self.net.eval()
        try:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                writable = images if images.flags.writeable else images.copy()  # torch warns about others
                colours = torch.from_numpy(writable).to(device).permute(0, 3, 1, 2)  # channels_last as it lies
                logits, descriptors = self.net.logits_and_descriptor((colours.float() - MEAN) / DIVISOR)
                maps = probabilities(logits.float())
        finally:
            self.net.train(was_training)
        return maps.cpu().numpy(), descriptors.float().cpu().numpy()

    def release(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def has_bf16(device: torch.device) -> bool:
    """True where bfloat16 convolutions are done by the hardware itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
