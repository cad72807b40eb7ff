"""Statistics of batch normalisations, measured anew once the weights stand."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate_batch_norm(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the running statistics of all batch normalisations to their mean over `batches`, in place.

    Quantized weights shift the statistics, and a moving average lags behind; the plain mean over a few dozen batches
    does not. Everything else stays as it was, whether each module is training or not included.

    Parameters
    ----------
    net
        Any network; one without batch normalisation is left alone, and no batch is drawn.
    batches
        Inputs of `net`, such as training sees them. Each counts the same.

    Returns
    -------
    Batches used.

    Raises
    ------
    ValueError
        There was no batch; the statistics are what they were.
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return 0
    before = [(norm, norm.momentum) for norm in norms]
    modes = [(module, module.training) for module in net.modules()]
    n_batches = 0
    try:
        net.eval()
        for norm in norms:
            norm.train()
            norm.momentum = None  # torch's sign for a plain mean over all batches since the reset
        for batch in batches:
            if n_batches == 0:
                for norm in norms:
                    norm.reset_running_stats()
            net(batch)
            n_batches += 1
    finally:
        for norm, momentum in before:
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    if n_batches == 0:
        raise ValueError("no batch to estimate the statistics from")
    return n_batches
