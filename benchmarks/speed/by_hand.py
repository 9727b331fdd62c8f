"""yolov5-effb3-bifpn.yaml as somebody would write it in Python: the baseline of building from the YAML."""

from __future__ import annotations

import torch
from torch import nn

NAME = "yolov5-effb3-bifpn.yaml"
BY_HAND = f"{NAME} by hand"


class ByHand(nn.Module):
    """timm's EfficientNet-B3 and Ultralytics' layers, with plain concatenation."""

    def __init__(self, classes: int = 80):
        import timm
        from ultralytics.nn.modules import C3, Conv, Detect
        from ultralytics.utils.torch_utils import initialize_weights

        super().__init__()
        self.backbone = timm.create_model("tf_efficientnet_b3", features_only=True, out_indices=(2, 3, 4))
        c3, c4, c5 = self.backbone.feature_info.channels()
        self.upsample = nn.Upsample(None, 2, "nearest")
        self.lateral5 = Conv(c5, 320, 1, 1)
        self.top_down4 = C3(320 + c4, 320, 2, False)
        self.lateral4 = Conv(320, 160, 1, 1)
        self.top_down3 = C3(160 + c3, 160, 2, False)
        self.down3 = Conv(160, 160, 3, 2)
        self.bottom_up4 = C3(160 + 160 + c4, 320, 2, False)
        self.down4 = Conv(320, 320, 3, 2)
        self.bottom_up5 = C3(320 + 320, 640, 2, False)
        legacy, Detect.legacy = Detect.legacy, True  # YOLOv5's head
        self.detect = Detect(classes, ch=(160, 320, 640))
        Detect.legacy = legacy
        # What Ultralytics' DetectionModel does too.
        self.eval()
        self.detect.training = True
        feats = self(torch.zeros(1, 3, 256, 256))["feats"]
        self.detect.stride = torch.tensor([256 / x.shape[-2] for x in feats])
        self.train()
        self.detect.bias_init()
        initialize_weights(self)

    def forward(self, images: torch.Tensor):
        """Run backbone, neck and head."""
        c3, c4, c5 = self.backbone(images)
        lateral5 = self.lateral5(c5)
        lateral4 = self.lateral4(self.top_down4(torch.cat((self.upsample(lateral5), c4), 1)))
        p3 = self.top_down3(torch.cat((self.upsample(lateral4), c3), 1))
        p4 = self.bottom_up4(torch.cat((self.down3(p3), lateral4, c4), 1))
        p5 = self.bottom_up5(torch.cat((self.down4(p4), lateral5), 1))
        return self.detect([p3, p4, p5])


def by_hand() -> nn.Module:
    """Build it."""
    return ByHand()
