"""Pictures of what a network sees: `features(...)`, or the command `effyolo features best.pt image.jpg`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from effyolo_ultra._figures import no_formula, save_picture
from effyolo_ultra.feature_maps.cam import ActivationMaps, activation_maps, cam_class, class_number
from effyolo_ultra.feature_maps.maps import FeatureMaps, look, open_yolo
from effyolo_ultra.nn._checks import check_choice, check_int, check_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = tuple[str, "np.ndarray | None"]
REDUCE = ("mean", "max")
COLOURS = "viridis"  # rises evenly in lightness: the same in grey, and for colour-blind readers
OPACITY = 0.6
COLUMNS = 5  # at most
SIDE = 2.2  # of a panel, inches
NAMED, LOGGED = 3, 10  # predictions, at most, in a title and in the log


def features(
    model: str | os.PathLike[str] | Any,
    image: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    layers: Sequence[int] | None = None,
    reduce: str = "mean",
    top: int | None = None,
    cam: str | None = None,
    target: str | int | None = None,
    conf: float = 0.25,
    imgsz: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Draw the feature maps of a network for one picture, laid over the picture.

    The picture is made the network's input as in Ultralytics' `predict`. A feature map is shown from its smallest value
    (dark) to its largest (bright), so that the colours of two maps are not to be compared. Class-activation maps are
    drawn with the boxes of the predictions that they explain, which are logged too.

    Args:
        model: Path of a .pt file, or an `ultralytics.YOLO`.
        image: The picture to look at.
        output: The folder to write into, by default `<name of the picture>-features`.
        layers: Numbers of rows of the model YAML but the last one, the head, which gives no feature maps; by default,
            without `cam`, all that compute something.
        reduce: What to show of a feature map: the 'mean' or the 'max' of its channels.
        top: Instead, show so many of its channels one by one, those with the largest mean of absolute values.
        cam: Draw class-activation maps on the feature maps that the head takes: 'eigen' (EigenCAM, has no gradients),
            'layer' (LayerCAM), 'hires' (HiResCAM) or 'grad' (GradCAM, for classifiers rather than detectors). Feature
            maps are then drawn for `layers` only.
        target: The class to explain, its name or number; by default the best class of each prediction.
        conf: Least score of the predictions to explain; the best one is always explained.
        imgsz: Size of the network's input, by default that of its training.
        overwrite: Whether to replace pictures that are there.

    Returns:
        The pictures, PNG files.

    Raises:
        FileNotFoundError: If there is no such model or picture.
        FileExistsError: If one of the pictures is there and `overwrite` is not set.
        MissingPackageError: If `cam` is asked for, and pytorch-grad-cam is not installed.
        ValueError: If an option has no such value.
    """
    check_choice("reduce", reduce, REDUCE)
    check_number("conf", conf, least=0, below=1)
    if top is not None:
        check_int("top", top, 1)
    if target is not None and cam is None:
        raise ValueError("a class is explained by class-activation maps only: ask for cam too, such as layer")
    if cam is not None:
        cam_class(cam, target is not None)
    yolo = open_yolo(model)
    number = None if target is None else class_number(target, yolo.names)
    seen = look(yolo, image, layers if layers is not None or cam is None else [], **({"imgsz": imgsz} if imgsz else {}))
    picture = picture_of(seen.image)
    figures: dict[str, Figure] = {}
    for row in seen.rows:
        figures.update(figures_of_row(picture, row, reduce, top))
    if cam is not None:
        maps = activation_maps(open_yolo(model).model, seen.image, cam, number, conf)
        of_class = "" if number is None else f"_{yolo.names[number]}"
        figures[f"cam_{cam}{of_class}.png"] = figure_of_cam(picture, maps, yolo.names)
        log(maps, yolo.names, cam, conf)
    folder = Path(f"{Path(image).stem}-features" if output is None else output)
    return write(figures, folder, overwrite)


def write(figures: dict[str, Figure], folder: Path, overwrite: bool) -> list[Path]:
    """Write all pictures, or none if one of them is there."""
    paths = [folder / re.sub(r"[^\w.-]+", "-", name) for name in figures]  # of a class "a: b?", Windows makes no file
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"'{there[0]}' is there already; choose another folder, or ask to replace it (overwrite=True, --overwrite)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for figure, path in zip(figures.values(), paths):
        save_picture(figure, path, overwrite, dpi=120)
    return paths


def picture_of(image: torch.Tensor) -> np.ndarray:
    """Return a picture (1, C, H, W) in 0..1 as (H, W, 3); one of other than three channels as grey."""
    x = image[0].float().cpu()
    x = x if len(x) == 3 else x.mean(0, keepdim=True).expand(3, -1, -1)
    return x.clamp(0, 1).permute(1, 2, 0).numpy()


def figures_of_row(picture: np.ndarray, row: FeatureMaps, reduce: str, top: int | None) -> dict[str, Figure]:
    """Return the pictures of a row by their file names: one, or one for each level if single channels are shown."""
    name, title = f"layer{row.layer:02d}_{row.module}", f"layer {row.layer}, {row.module}"
    if top is None:
        panels: list[Panel] = [("input", None)]
        for level, x in zip(row.levels, row.maps):
            panels.append((f"{level}: {size_of(x)}", (x.mean(0) if reduce == "mean" else x.amax(0)).numpy()))
        levels = "-".join(dict.fromkeys((row.levels[0], row.levels[-1])))
        return {f"{name}_{levels}_{reduce}.png": figure_of(picture, panels, f"{title}: {reduce} of the channels")}
    figures = {}
    for i, (level, x) in enumerate(zip(row.levels, row.maps)):
        order = x.abs().mean((1, 2)).argsort(descending=True)[:top].tolist()
        panels = [("input", None), *((f"channel {k}", x[k].numpy()) for k in order)]
        again = f"-{i}" if row.levels.count(level) > 1 else ""
        text = f"{title}, {level}: {len(order)} most active of {size_of(x)}"
        figures[f"{name}_{level}{again}_top{len(order)}.png"] = figure_of(picture, panels, text)
    return figures


def figure_of_cam(picture: np.ndarray, maps: ActivationMaps, names: Mapping[int, str]) -> Figure:
    """Return the picture of class-activation maps, with the boxes of what they explain."""
    from matplotlib.patches import Rectangle

    panels: list[Panel] = [("input", None)]
    if len(maps.levels) > 1:
        panels.append(("mean of the levels", maps.together))
    panels += [(f"{level}: flat" if level in maps.flat else level, values) for level, values in maps.levels.items()]
    text = [f"{names[found.number]} {found.score:.2g}" for found in maps.explained[:NAMED]]
    more = len(maps.explained) - NAMED
    title = f"{maps.title} of {', '.join(text)}{f' and {more} more' if more > 0 else ''}" if text else maps.title
    figure = figure_of(picture, panels, title)
    for x1, y1, x2, y2 in (found.xyxy for found in maps.explained if found.xyxy):
        figure.axes[0].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="white", linewidth=1))
    return figure


def log(maps: ActivationMaps, names: Mapping[int, str], cam: str, conf: float) -> None:
    """Log what class-activation maps explain, and warn of those that show nothing."""
    from ultralytics.utils import LOGGER

    for found in maps.explained[:LOGGED]:
        where = "" if found.xyxy is None else f" in the box {', '.join(map(str, found.xyxy))}"
        best = f", the best one, as none reaches {conf}" if found.xyxy and found.score < conf else ""
        LOGGER.info(f"{maps.title} explains class {names[found.number]}, score {found.score:.2g}{where}{best}")
    if len(maps.explained) > LOGGED:
        LOGGER.info(f"{maps.title} explains {len(maps.explained) - LOGGED} more")
    if maps.flat:
        rests = "" if len(maps.flat) == len(maps.levels) else ", which rests on other levels"
        advice = [
            *(["lower conf (--conf) to explain more predictions"] if maps.explained and maps.explained[0].xyxy else []),
            *(["take cam layer or hires, which weigh each cell"] if cam == "grad" else []),
        ]
        LOGGER.warning(
            f"{maps.title} of {', '.join(maps.flat)} is flat: nothing there speaks for what is explained{rests};"
            f" {', or '.join(advice) or 'take cam eigen, which needs no prediction'}"
        )


def size_of(x: torch.Tensor) -> str:
    """Say the size of a feature map (C, H, W)."""
    return f"{x.shape[0]} x {x.shape[1]} x {x.shape[2]}"


def figure_of(picture: np.ndarray, panels: Sequence[Panel], title: str) -> Figure:
    """Return a grid of panels, each a map laid over the picture, or the picture itself."""
    from matplotlib.figure import Figure

    height, width = picture.shape[:2]
    rows = -(-len(panels) // COLUMNS)
    columns = -(-len(panels) // rows)
    side_h = SIDE * height / width if height < 2 * width else 2 * SIDE
    figure = Figure(figsize=(max(columns, 2) * SIDE, rows * (side_h + 0.25) + 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axis, (text, values) in zip(grid, panels):
        axis.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
        if values is not None:
            axis.imshow(values, extent=(0, width, height, 0), alpha=OPACITY, cmap=COLOURS, interpolation="bilinear")
        axis.set_title(text, fontsize=8)
    for axis in figure.axes:
        axis.axis("off")
    figure.suptitle(no_formula(title), fontsize=10)
    return figure
