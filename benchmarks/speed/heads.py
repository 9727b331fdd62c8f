"""One network with several heads."""

from __future__ import annotations

from pathlib import Path

import yaml
from torch import nn

from benchmarks.speed.models import Yolo

NETWORK = "yolov5n-effdet.yaml"
HEAVY, DEPTHWISE = "Detect", "Detect, legacy=False"


class WithHead(Yolo):
    """The network with another last row: a YAML row, or the name of one of Ultralytics' two class heads."""

    def __init__(self, head: str, imgsz: int, folder: Path):
        from ultralytics.nn.tasks import yaml_model_load

        self.head = head
        document = yaml_model_load(NETWORK)
        row = document["head"][-1]
        document["head"][-1] = [row[0], 1, "Detect", ["nc"]] if head in (HEAVY, DEPTHWISE) else yaml.safe_load(head)
        number = len(list(folder.glob("*-head*.yaml")))
        path = folder / f"{Path(NETWORK).stem}-head{number}.yaml"  # keeps the scale letter
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        super().__init__(str(path), imgsz, folder)

    def build(self) -> nn.Module:
        """Build the network, and Ultralytics' depthwise class head where it is asked for."""
        network = super().build()
        if self.head == DEPTHWISE:
            network.model[-1] = depthwise_head(network.model[-1])
        return network


def depthwise_head(heavy: nn.Module) -> nn.Module:
    """Return what Ultralytics' parser builds in a file with rows of YOLO11, in place of this Detect."""
    from ultralytics.nn.modules import Detect

    channels = [branch[0].conv.in_channels for branch in heavy.cv2]
    legacy, Detect.legacy = Detect.legacy, False
    head = Detect(heavy.nc, ch=channels)
    Detect.legacy = legacy
    for name in ("i", "f", "type", "stride", "inplace"):
        setattr(head, name, getattr(heavy, name))
    head.bias_init()
    return head


def default_heads() -> list[str]:
    """Return Ultralytics' two heads, and the row of the zoo's own file if it is another one."""
    from ultralytics.nn.tasks import yaml_model_load

    row = yaml_model_load(NETWORK)["head"][-1]
    own = [] if row[2] == "Detect" else [yaml.safe_dump(row, default_flow_style=True).strip()]
    return [HEAVY, DEPTHWISE, *own]
