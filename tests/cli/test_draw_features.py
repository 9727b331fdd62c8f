"""The subcommands `draw` and `features`."""

import cv2
import numpy as np
import pytest

from effyolo_ultra.cli import main


def test_draw(tmp_path, capsys):
    target = tmp_path / "net.svg"
    assert main(["draw", "yolov5n-effdet.yaml", "-o", str(target), "--title", "A title"]) == 0
    assert capsys.readouterr().out == f"{target}\n" and target.is_file()
    assert main(["draw", "yolov5n-effdet.yaml", "-o", str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["draw", "yolo11n-cls.yaml", "-o", str(target), "--overwrite"]) == 0


def test_features(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("image.png", np.full((64, 64, 3), 90, np.uint8))
    command = ["features", "yolov5n-effdet.yaml", "image.png", "--imgsz", "64"]
    assert main([*command, "--layers", "0", "3", "--reduce", "max", "--cam", "layer", "--class", "3"]) == 0
    names = ["layer00_EfficientNetBackbone_P3-P5_max", "layer03_PyramidLevel_P4_max", "cam_layer_3"]
    assert capsys.readouterr().out.splitlines() == [f"image-features/{name}.png" for name in names]
    assert main([*command, "--layers", "3", "--top", "2", "-o", "maps", "--conf", "0.5", "--overwrite"]) == 0
    assert capsys.readouterr().out == "maps/layer03_PyramidLevel_P4_top2.png\n"
    assert main([*command, "--layers", "3", "--top", "2", "-o", "maps"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_top_and_reduce_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        main(["features", "a.pt", "b.png", "--top", "2", "--reduce", "max"])
    assert "not allowed with" in capsys.readouterr().err
