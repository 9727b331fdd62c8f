"""EfficientDets of efficientdet-pytorch whose weights and statistics are not those of a fresh model."""

import torch
from effdet import EfficientDet, get_efficientdet_config
from omegaconf import OmegaConf

FPN_NAMES = {"fast": "bifpn_fa", "softmax": "bifpn_attn", "sum": "bifpn_sum"}


def efficientdet(name, size_hw=(256, 256), **options):
    """Build an EfficientDet with random weights and statistics."""
    config = get_efficientdet_config(name)
    OmegaConf.update(config, "image_size", list(size_hw))
    for option, value in options.items():
        OmegaConf.update(config, option, value)
    torch.manual_seed(0)
    model = EfficientDet(config, pretrained_backbone=False).eval()
    randomize(model.fpn)
    for buffer in model.backbone.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


def randomize(module):
    """Give weights and statistics values that are not those of a fresh model."""
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3 + 0.1
        if parameter.ndim == 4:  # by fan-in, so that eight cells do not overflow
            parameter.data = torch.randn_like(parameter) / parameter[0].numel() ** 0.5
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
