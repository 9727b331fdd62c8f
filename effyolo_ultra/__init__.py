"""EfficientNet backbones and BiFPN necks for Ultralytics YOLO, described in a model YAML."""
