"""Scenes, labels and pictures of the shapes dataset, and what Ultralytics makes of its YAMLs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from effyolo_ultra.shapes import CLASSES, KEYPOINTS, TASKS
from effyolo_ultra.shapes import geometry as geo
from effyolo_ultra.shapes.labels import label_lines
from effyolo_ultra.shapes.outlines import SYMMETRY, box_angle, outline
from effyolo_ultra.shapes.paint import _paint_shape, paint_scene
from effyolo_ultra.shapes.scenes import MAX_SHAPES, MAX_SIZE, MIN_SHAPES, MIN_SIZE, MIN_VISIBLE, Shape, random_scene

ROOT = Path(__file__).resolve().parents[1]
YAMLS = {"detect": "shapes.yaml", "segment": "shapes-seg.yaml", "pose": "shapes-pose.yaml", "obb": "shapes-obb.yaml"}
SCENES = range(120)


@cache
def scene(k: int) -> list[Shape]:
    return random_scene(np.random.default_rng((7, k)))


def numbers(shapes: list[Shape], task: str) -> list[np.ndarray]:
    """The label lines of a scene without the class."""
    return [np.array(line.split()[1:], dtype=float) for line in label_lines(shapes, task)]


def raster(polygon: np.ndarray, side: int, pad: float = 0.0) -> np.ndarray:
    """A polygon on a grid of `side` cells per unit, with a border of `pad` around the frame."""
    size = round(side * (1 + 2 * pad))
    points = np.round(((polygon + pad) * side - 0.5) * 256).astype(np.int32)
    return cv2.fillPoly(np.zeros((size, size), np.uint8), [points], 1, shift=8).astype(bool)


def test_keeps_the_rules_of_a_scene():
    side, pad = 600, 0.5
    frame = np.pad(np.ones((side, side), bool), round(side * pad))
    counts, covered, cut = set(), 0, 0
    for k in SCENES:
        shapes = scene(k)
        counts.add(len(shapes))
        free = frame.copy()
        areas = []
        for shape in reversed(shapes):
            size = np.ptp(shape.outline, axis=0).max()
            assert MIN_SIZE <= size <= MAX_SIZE
            whole = raster(shape.outline, side, pad)
            seen = (whole & free).sum() / whole.sum()
            assert seen >= MIN_VISIBLE - 0.6 / (size * side), f"scene {k}: {CLASSES[shape.class_id]} {seen:.3f}"
            covered += (whole & frame & ~free).any()
            cut += (whole & ~frame).any()
            free &= ~whole
            areas.append(geo.area(geo.clip_to_frame(shape.outline)))
        assert areas == sorted(areas), "a larger shape lies on a smaller one"
    assert counts == set(range(MIN_SHAPES, MAX_SHAPES + 1))
    assert covered > len(SCENES) / 4 and cut > len(SCENES) / 4, (
        "hardly anything is covered or cut: the rules go untested"
    )


def test_every_class_is_common():
    ids = np.array([shape.class_id for k in SCENES for shape in scene(k)])
    assert np.bincount(ids, minlength=len(CLASSES)).min() > len(ids) / len(CLASSES) / 2


@pytest.mark.parametrize("name", CLASSES)
def test_outline_is_centred_and_covers_its_centroid(name):
    for angle in np.linspace(0, 2 * np.pi, 25):
        points = outline(name, angle)
        assert np.ptp(points, axis=0).max() == pytest.approx(1)
        assert points.min(axis=0) == pytest.approx(-points.max(axis=0))
        assert cv2.pointPolygonTest(points.astype(np.float32), tuple(map(float, geo.centroid(points))), True) > 0.02
        assert geo.area(points) == pytest.approx(raster(points + 0.5, 1000).mean(), abs=0.005)


SQUARE = geo.FRAME * 0.4 + 0.3


def moved(points: np.ndarray, x: float, y: float) -> np.ndarray:
    return points + np.array([x, y])


@pytest.mark.parametrize(
    ("points", "above", "expected"),
    [
        (SQUARE, [], 1.0),
        (moved(SQUARE, -0.5, 0), [], 0.5),
        (moved(SQUARE, 0.5, 0.5), [], 0.25),
        (SQUARE, [moved(SQUARE, 0.1, 0)], 0.25),
        (SQUARE, [moved(SQUARE, 0.2, 0), moved(SQUARE, 0, 0.2)], 0.25),
        (SQUARE, [moved(SQUARE, -0.4, 0)], 1.0),
        (SQUARE * 0.05, [moved(SQUARE * 0.05, 0.01, 0)], 0.5),
    ],
)
def test_visible_fraction(points, above, expected):
    assert geo.visible_fraction(points, above) == pytest.approx(expected, abs=0.03)


def test_clips_to_the_frame():
    assert geo.clip_to_frame(SQUARE).tolist() == SQUARE.tolist()
    assert geo.area(geo.clip_to_frame(moved(SQUARE, 0.5, 0.5))) == pytest.approx(0.04)
    assert geo.area(geo.clip_to_frame(SQUARE * 5 - 2)) == pytest.approx(1)
    comb = np.array(
        [(-0.2, 0.1), (0.5, 0.1), (0.5, 0.2), (-0.1, 0.2), (-0.1, 0.4), (0.5, 0.4), (0.5, 0.5), (-0.2, 0.5)]
    )
    parts = geo.clip_to_frame(comb)  # two teeth, whose back is out of the frame
    assert geo.area(parts) == pytest.approx(0.1) and parts.min() == 0 and parts[:, 1].max() == 0.5


@pytest.mark.parametrize("degrees", [0, 10, 44, -30])
def test_oriented_box_of_a_turned_rectangle(degrees):
    turn = cv2.getRotationMatrix2D((0, 0), -degrees, 1)[:, :2]
    corners = np.array([(-0.3, -0.1), (0.3, -0.1), (0.3, 0.1), (-0.3, 0.1)]) @ turn.T + 0.5
    assert geo.oriented_box(np.roll(corners, 1, axis=0), np.radians(degrees)) == pytest.approx(corners)


@pytest.mark.parametrize(
    ("name", "degrees", "expected"),
    [
        ("circle", 30, 0),
        ("arrow", 30, 30),
        ("arrow", 130, 40),
        ("heart", 350, -10),
        ("square", 80, -10),
        ("triangle", 80, -10),
        ("triangle", 40, 10),
        ("star", 30, -6),
    ],
)
def test_box_angle(name, degrees, expected):
    assert np.degrees(box_angle(name, np.radians(degrees))) == pytest.approx(expected)


@pytest.mark.parametrize("name", CLASSES)
def test_what_looks_the_same_has_the_same_oriented_box(name):
    """An outline that fits itself when turned must not be told from itself by its label, and others must."""
    for turns in (2, 3, 4, 5):
        both = [Shape(CLASSES.index(name), outline(name, a) * 0.5 + 0.5, a) for a in (0.3, 0.3 + 2 * np.pi / turns)]
        first, second = (raster(shape.outline, 200) for shape in both)
        alike = (first & second).sum() / (first | second).sum() > 0.97
        assert alike == (name == "circle" or SYMMETRY.get(name, 1) % turns == 0)
        first, second = (numbers([shape], "obb")[0] for shape in both)
        assert first == pytest.approx(second, abs=0.01) or not alike


@pytest.mark.parametrize("task", TASKS)
def test_label_lines_are_within_the_picture(task):
    pattern = (
        r"[0-7]( [01]\.\d{6}){4}( [01]\.\d{6} [01]\.\d{6} [012]){5}" if task == "pose" else r"[0-7]( [01]\.\d{6})+"
    )
    width = {"detect": 5, "obb": 9, "pose": 5 + 3 * len(KEYPOINTS)}
    for k in SCENES:
        lines = label_lines(scene(k), task)
        assert [int(line[0]) for line in lines] == [shape.class_id for shape in scene(k)]
        for line in lines:
            assert re.fullmatch(pattern, line)
            values = np.array(line.split(), dtype=float)
            assert len(values) == width[task] if task in width else len(values) >= 7 and len(values) % 2 == 1
            assert task == "pose" or values[1:].max() <= 1


def test_labels_of_the_four_tasks_agree():
    for k in SCENES:
        detect, segment, pose, obb = (numbers(scene(k), task) for task in TASKS)
        for box, flat, person, corners in zip(detect, segment, pose, obb):
            polygon = flat.reshape(-1, 2)
            low, high = polygon.min(axis=0), polygon.max(axis=0)
            assert box == pytest.approx(np.concatenate([(low + high) / 2, high - low]), abs=1.1e-6)
            assert person[:4].tolist() == box.tolist()
            points = person[4:].reshape(-1, 3)
            assert (points[points[:, 2] == 0] == 0).all()
            for name, (x, y, visibility) in zip(KEYPOINTS, points):
                if visibility:
                    assert cv2.pointPolygonTest(polygon.astype(np.float32), (x, y), True) > -2e-6
                    edge = {"top": y - low[1], "right": x - high[0], "bottom": y - high[1], "left": x - low[0]}
                    assert edge.get(name, 0) == pytest.approx(0, abs=1.1e-6)
            rectangle = corners.reshape(4, 2)
            if not ((rectangle == 0) | (rectangle == 1)).any():
                sides = np.roll(rectangle, -1, axis=0) - rectangle
                assert np.abs((sides * np.roll(sides, 1, axis=0)).sum(axis=1)).max() < 2e-6
                assert all(
                    cv2.pointPolygonTest(rectangle.astype(np.float32), p, True) > -3e-6 for p in polygon.tolist()
                )
                directions = sides / np.linalg.norm(sides, axis=1, keepdims=True)
                reach = (polygon @ directions.T).max(axis=0) - (rectangle * directions).sum(axis=1)
                length = np.linalg.norm(sides, axis=1)
                assert reach == pytest.approx(length, abs=3e-6), "a side does not touch the outline"


def test_keypoint_visibility_is_what_the_picture_shows():
    side, counts = 500, {0: 0, 1: 0, 2: 0}
    for k in SCENES:
        shapes = scene(k)
        owner = np.full((side, side), -1)
        for i, shape in enumerate(shapes):
            owner[raster(shape.outline, side)[:side, :side]] = i
        for i, (shape, label) in enumerate(zip(shapes, numbers(shapes, "pose"))):
            for name, (x, y, visibility) in zip(KEYPOINTS, label[4:].reshape(-1, 3)):
                counts[int(visibility)] += 1
                if not visibility:
                    beyond = (shape.outline < 0).any() or (shape.outline > 1).any()
                    assert beyond, f"scene {k}: {name} is out of the frame, the shape is not"
                    continue
                others = [cv2.pointPolygonTest(s.outline.astype(np.float32), (x, y), True) for s in shapes[i + 1 :]]
                if any(abs(distance) < 2 / side for distance in others):
                    continue  # the grid is too coarse to say on which side of an edge
                at = owner[min(int(y * side), side - 1), min(int(x * side), side - 1)]
                assert (at > i) == (visibility == 1), f"scene {k}, shape {i}: {name}"
    assert min(counts.values()) > 20, counts


def test_flip_idx_mirrors_the_keypoints():
    flip_idx = yaml_of("pose")["flip_idx"]
    for k in SCENES:
        mirror = np.array([-1.0, 1.0]), np.array([1.0, 0.0])
        mirrored = [Shape(s.class_id, s.outline * mirror[0] + mirror[1], -s.angle) for s in scene(k)]
        for label, other in zip(numbers(scene(k), "pose"), numbers(mirrored, "pose")):
            points, expected = label[4:].reshape(-1, 3), other[4:].reshape(-1, 3)[flip_idx]
            assert points[:, 1:] == pytest.approx(expected[:, 1:], abs=1.1e-6)
            seen = points[:, 2] > 0
            assert points[seen, 0] == pytest.approx(1 - expected[seen, 0], abs=1.1e-6)


def test_overlapped_masks_of_ultralytics_are_the_visible_parts():
    from ultralytics.data.utils import polygons2masks_overlap

    side, wrong = 160, 0
    for k in SCENES:
        segments = [flat.reshape(-1, 2) * side for flat in numbers(scene(k), "segment")]
        masks, order = polygons2masks_overlap((side, side), segments)
        expected = np.full((side, side), -1)
        for i, segment in enumerate(segments):
            single, _ = polygons2masks_overlap((side, side), [segment])
            expected[single > 0] = i
        wrong += (np.append(-1, order)[masks] != expected).mean() > 1e-3  # a whole shape, not the rounding of an edge
    assert wrong <= len(SCENES) * 0.02, "masks of equal area may change places, others not"


@pytest.mark.parametrize("name", CLASSES)
def test_pixels_are_where_the_labels_are(name):
    for k in range(10):  # different fills
        points = moved(outline(name, 0.4 + k) * 0.5, 0.45, 0.55)
        image = np.full((320, 320, 3), 128, np.float32)
        _paint_shape(image, points, np.random.default_rng(k))
        painted, expected = np.abs(image - 128).max(axis=2) > 15, raster(points, 320)
        assert (painted & expected).sum() / (painted | expected).sum() > 0.95
        y, x = painted.nonzero()
        edges = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / 320
        assert edges == pytest.approx(np.concatenate([points.min(axis=0), points.max(axis=0)]), abs=1.5 / 320)


def test_shapes_stand_out():
    contrast = []
    for k in SCENES:
        outermost = scene(k)[-1].outline  # nothing covers it
        picture = cv2.GaussianBlur(paint_scene(scene(k), np.random.default_rng(k), 320), (5, 5), 0)
        lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
        shape = raster(outermost, 320).astype(np.uint8)
        near, wide = (cv2.dilate(shape, np.ones((n, n))) for n in (5, 13))
        inside, around = cv2.erode(shape, np.ones((3, 3))) > 0, wide > near
        contrast.append(np.linalg.norm(np.median(lab[inside], axis=0) - np.median(lab[around], axis=0)))
    assert np.median(contrast) > 50 and np.quantile(contrast, 0.02) > 25


def yaml_of(task: str) -> dict:
    return yaml.safe_load((ROOT / "datasets" / YAMLS[task]).read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", TASKS)
def test_yaml_agrees_with_the_code(task):
    data = yaml_of(task)
    assert tuple(data["names"][i] for i in range(len(CLASSES))) == CLASSES == tuple(data["names"].values())
    assert data["path"] == YAMLS[task].removesuffix(".yaml"), "two tasks in one folder would be refused"
    assert f'task="{task}"' in data["download"]
    if task == "pose":
        assert data["kpt_shape"] == [len(KEYPOINTS), 3]
        assert data["kpt_names"] == {i: list(KEYPOINTS) for i in range(len(CLASSES))}


def test_imports_neither_torch_nor_ultralytics():
    code = (
        "import sys, effyolo_ultra.shapes; print(*({'torch', 'torchvision', 'ultralytics', 'timm'} & set(sys.modules)))"
    )
    environment = {**os.environ, "EFFYOLO_ULTRA_NO_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == ""


LOAD = """
import json, sys
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, verify_image_label

report = {}
for task, file in json.loads(sys.argv[1]).items():
    data = check_det_dataset(file)
    keypoints, dimensions = data.get("kpt_shape", (0, 0))
    counts, messages, objects = [0, 0, 0, 0], [], 0
    for split in "train", "val":
        dataset = YOLODataset(img_path=data[split], data=data, task=task, imgsz=64, augment=False)
        objects += sum(len(label["cls"]) for label in dataset.labels)
        sample = dataset[0]
        for image, label in zip(dataset.im_files, dataset.label_files):
            args = (image, label, "", task == "pose", len(data["names"]), keypoints, dimensions, False)
            *_, missing, found, empty, corrupt, message = verify_image_label(args)
            counts = [a + b for a, b in zip(counts, (missing, found, empty, corrupt))]
            messages += [message] if message else []
    report[task] = {
        "path": str(data["path"]), "counts": counts, "messages": messages, "objects": objects, "keys": sorted(sample)
    }
print("REPORT" + json.dumps(report))
"""


@pytest.fixture
def ultralytics_load(tmp_path):
    """Load YAMLs with Ultralytics in a process with settings of its own and an empty folder for datasets."""
    config = tmp_path / "config" / "Ultralytics"
    config.mkdir(parents=True)
    (config / "Arial.ttf").touch()  # else Ultralytics downloads it
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(config.parent), "PYTHONPATH": str(ROOT), "YOLO_OFFLINE": "1"}

    def run(code: str, *args: str) -> str:
        command = [sys.executable, "-c", code, *args]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    datasets = tmp_path / "datasets"
    run("import sys; from ultralytics import settings; settings.update(datasets_dir=sys.argv[1])", str(datasets))

    def load(yamls: dict[str, Path]) -> dict:
        output = run(LOAD, json.dumps({task: str(file) for task, file in yamls.items()}))
        report = json.loads(output.split("REPORT")[1])
        for task in yamls:
            assert Path(report[task]["path"]) == datasets / YAMLS[task].removesuffix(".yaml")
        assert sorted(os.listdir(datasets)) == sorted(YAMLS[task].removesuffix(".yaml") for task in yamls)
        return report

    return load


KEYS = {"detect": "bboxes", "segment": "masks", "pose": "keypoints", "obb": "bboxes"}


def test_ultralytics_makes_and_accepts_all_four(ultralytics_load, tmp_path):
    small = {}
    for task, name in YAMLS.items():  # the same YAML with fewer pictures
        text = (ROOT / "datasets" / name).read_text(encoding="utf-8")
        small[task] = tmp_path / name
        small[task].write_text(
            text.replace(f'task="{task}"', f'task="{task}", train=20, val=5, imgsz=64'), encoding="utf-8"
        )
    report = ultralytics_load(small)
    for task in TASKS:
        assert report[task]["counts"] == [0, 25, 0, 0], "missing, found, empty, corrupt"
        assert report[task]["messages"] == []
        assert KEYS[task] in report[task]["keys"]
    assert len({report[task]["objects"] for task in TASKS}) == 1 and report["detect"]["objects"] >= 25 * MIN_SHAPES


@pytest.mark.slow
def test_ultralytics_makes_and_accepts_the_default(ultralytics_load):
    report = ultralytics_load({"detect": ROOT / "datasets" / YAMLS["detect"]})["detect"]
    assert report["counts"] == [0, 500, 0, 0] and report["messages"] == []
