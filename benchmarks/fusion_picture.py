"""The picture of fusion weights in the README: docs/fusion_weights.png.

python -m benchmarks.fusion_picture    trains for some minutes, then draws it
"""

import tempfile

from ultralytics import YOLO

from benchmarks.page import ROOT
from effyolo_ultra import plot_fusion_weights

SETTINGS = {"imgsz": 128, "epochs": 9, "device": "cpu", "pretrained": False, "batch": 8, "nbs": 8}
SETTINGS |= {"optimizer": "AdamW", "lr0": 0.003, "warmup_epochs": 1, "mosaic": 0, "scale": 0.2, "hsv_s": 0.3}


def main() -> None:
    """Train the smallest network with a BiFPN on the drawn shapes, and draw its fusion weights."""
    with tempfile.TemporaryDirectory() as folder:
        model = YOLO("yolov5n-effdet.yaml")
        model.train(data="shapes.yaml", project=folder, **SETTINGS)
        plot_fusion_weights(model.trainer.best, ROOT / "docs" / "fusion_weights.png", overwrite=True)


if __name__ == "__main__":
    main()
