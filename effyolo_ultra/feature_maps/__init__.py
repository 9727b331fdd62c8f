"""What a network sees in a picture: its feature maps, and class-activation maps, laid over the picture.

* `maps.py` runs Ultralytics' own prediction and keeps the feature maps of the rows.
* `cam.py` computes class-activation maps with pytorch-grad-cam.
* `pictures.py` draws both.
"""

from effyolo_ultra.feature_maps.pictures import features

__all__ = ["features"]
