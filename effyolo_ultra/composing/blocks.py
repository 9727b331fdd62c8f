"""What each YOLO makes its neck of, as its YAML in Ultralytics writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from effyolo_ultra.composing.sizes import CAP, Size


@dataclass(frozen=True)
class Family:
    """The blocks and heads of a YOLO.

    Attributes:
        title: The name of the YOLO whose neck it has.
        block: The module of its blocks.
        repeats: Their repeats, before depth.
        args: Args of a block of the neck; `{c}` stands for its channels, `{large}` for whether the network is large.
        top: Args of the last block, at the coarsest level.
        top_repeats: Repeats of the last block.
        extra: Args of the block of a level that the backbone does not give.
        lateral: Whether a 1x1 convolution stands before each upsampling.
        heads: Name of the head for each task.
        lines: Lines that a file with its head has at the top.
    """

    title: str
    block: str
    repeats: int
    args: str
    top: str
    extra: str
    top_repeats: int | None = None
    lateral: bool = False
    heads: Mapping[str, str] = field(
        default_factory=lambda: {"detect": "Detect", "segment": "Segment", "pose": "Pose", "obb": "OBB"}
    )
    lines: str = ""

    @property
    def has_attention(self) -> bool:
        """Whether its last block has attention, whose heads divide half of the block's channels."""
        return self.top.endswith("0.5, True]")

    def fit(self, size: Size, top_channels: int) -> Size:
        """Return the size with channels at the coarsest level that the last block can have.

        Args:
            size: The size.
            top_channels: Channels at the coarsest level, before width.
        """
        if not self.has_attention:
            return size
        cap = min(size.max_channels, top_channels)
        while (hidden := -(-cap * size.width // 8) * 8 // 2) % max(hidden // 64, 1):
            cap -= 64
        return size if cap == min(size.max_channels, top_channels) else Size(size.depth, size.width, cap)


def level_channels(level: int, last_level: int) -> int:
    """Return the channels of a level before width, as in Ultralytics' files for P3 to P5, P2 to P5 and P3 to P6."""
    return 768 if level == 5 < last_level else min(32 * 2**level, CAP)


FAMILIES = {
    "yolov5": Family("YOLOv5", "C3", 3, "[{c}, False]", "[{c}, False]", "[{c}]", lateral=True),
    "yolov8": Family("YOLOv8", "C2f", 3, "[{c}]", "[{c}]", "[{c}, True]"),
    "yolo11": Family("YOLO11", "C3k2", 2, "[{c}, {large}]", "[{c}, True]", "[{c}, True]"),
    "yolo26": Family(
        "YOLO26",
        "C3k2",
        2,
        "[{c}, True]",
        "[{c}, True, 0.5, True]",
        "[{c}, True]",
        top_repeats=1,
        heads={"detect": "Detect", "segment": "Segment26", "pose": "Pose26", "obb": "OBB26"},
        lines="end2end: True # boxes without non-maximum suppression\nreg_max: 1 # a box side is one number\n",
    ),
    # As in yolov8-rtdetr.yaml of Ultralytics.
    "rtdetr": Family("YOLOv8", "C2f", 3, "[{c}]", "[{c}]", "[{c}, True]", heads={"detect": "RTDETRDecoder"}),
}
