"""Images and weights with which no activation vanishes: what a processor does with them is what it does in use."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def natural_images(batch: int, imgsz: int, seed: int = 0) -> torch.Tensor:
    """Return random images in 0..1 (N, 3, H, W) whose amplitude falls with frequency as in photographs, as 1 / f."""
    random = torch.Generator().manual_seed(seed)
    frequencies = torch.fft.fftfreq(imgsz)[:, None] ** 2 + torch.fft.rfftfreq(imgsz)[None] ** 2
    amplitude = 1 / frequencies.sqrt().clamp(min=1 / imgsz)
    amplitude[0, 0] = 0  # the mean is set below
    # The channels of a photograph are much alike.
    noise = torch.randn(batch, 1, imgsz, imgsz, generator=random)
    noise = noise + 0.3 * torch.randn(batch, 3, imgsz, imgsz, generator=random)
    images = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=(imgsz, imgsz))
    images = images / images.std(dim=(2, 3), keepdim=True)
    return (0.45 + 0.25 * images).clamp(0, 1)


@torch.no_grad()
def calibrate(network: nn.Module, imgsz: int, passes: int = 2) -> None:
    """Give every BatchNorm the statistics of what flows through it, and leave the network in eval mode.

    A fresh network has mean 0 and variance 1 there, and its activations fade from layer to layer until they are
    denormal numbers, which are slow.
    """
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all passes
        norm.train()
    for seed in range(passes):
        network(natural_images(2, imgsz, seed))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        norm.eval()
