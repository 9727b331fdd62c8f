"""Random boxes for a training step, in the formats of both losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch

BOXES = 8  # in each image


@dataclass(frozen=True)
class Targets:
    """Boxes (N, 8, 4), centre and size as fractions of the image, and their classes (N, 8), from 0."""

    xywhn: torch.Tensor
    classes: torch.Tensor

    @classmethod
    def random(cls, batch: int, classes: int) -> Targets:
        """Draw boxes between a twentieth and a half of the image that lie inside it."""
        random = torch.Generator().manual_seed(0)
        size = 0.05 + 0.45 * torch.rand(batch, BOXES, 2, generator=random)
        centre = size / 2 + (1 - size) * torch.rand(batch, BOXES, 2, generator=random)
        return cls(torch.cat((centre, size), -1), torch.randint(classes, (batch, BOXES), generator=random))

    def to(self, device: str) -> Targets:
        """Return them on a device."""
        return Targets(self.xywhn.to(device), self.classes.to(device))

    def ultralytics(self) -> dict[str, torch.Tensor]:
        """Return them as a batch of Ultralytics holds them."""
        index = torch.arange(len(self.classes), device=self.classes.device).repeat_interleave(BOXES).float()
        return {"batch_idx": index, "cls": self.classes.reshape(-1, 1).float(), "bboxes": self.xywhn.reshape(-1, 4)}

    def effdet(self, imgsz: int) -> dict[str, torch.Tensor]:
        """Return them as effdet has them: y, x of two corners in pixels, and classes from 1."""
        centre, size = self.xywhn.flip(-1).split(2, -1)[::-1]  # x, y and w, h become y, x and h, w
        corners = torch.cat((centre - size / 2, centre + size / 2), -1)
        return {"bbox": corners * imgsz, "cls": self.classes.float() + 1}
