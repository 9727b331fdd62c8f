"""The embedded dataset "shapes": eight flat shapes on textured backgrounds, drawn from a seed.

It needs no download and takes seconds, so that every model of the zoo can be tried, and tested, on a task that can be
learnt. `datasets/shapes.yaml` (detect), `shapes-seg.yaml`, `shapes-pose.yaml` and `shapes-obb.yaml` draw it when it is
missing. All four have the same pictures for the same seed; only their label files differ.

* `outlines.py` has the eight outlines.
* `scenes.py` chooses which shapes stand where, and which are too hidden to stay.
* `paint.py` turns a scene into pixels.
* `labels.py` turns a scene into YOLO label lines, with `geometry.py` for polygons.
* `dataset.py` writes the folder, with `folder.py` to make it appear complete or not at all.
"""

from effyolo_ultra.shapes.dataset import make_shapes
from effyolo_ultra.shapes.labels import KEYPOINTS, TASKS
from effyolo_ultra.shapes.outlines import CLASSES

__all__ = ["CLASSES", "KEYPOINTS", "TASKS", "make_shapes"]
