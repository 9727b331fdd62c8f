"""What the heads of Ultralytics need of a model YAML; where it is missing, Ultralytics says only where it stumbles."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from torch import nn

from effyolo_ultra.document import ModelDocument, module_name
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.nn.light_head import light_heads

BY_THE_PARSER = ("reg_max", "end2end", "ch")  # parameters of heads that Ultralytics' parser gives, not the row
AT_THE_TOP = ("nc", "kpt_shape")  # those whose values stand at the top of a file
OF_YOLO26 = ("end2end", "reg_max")  # top-level keys that older versions pass over, to build another network


def check_version(document: ModelDocument, tasks: ModuleType) -> None:
    """Raise a ModelYAMLError if the file needs the heads of YOLO26, and this Ultralytics has none.

    Args:
        document: The model YAML.
        tasks: The module `ultralytics.nn.tasks`.
    """
    key = next((key for key in OF_YOLO26 if key in document.d), None)
    if key and not hasattr(tasks, "OBB26"):
        from ultralytics import __version__

        document.refuse(f"needs ultralytics >= 8.4.0 for '{key}'; installed is {__version__}.", key, colon=False)


def with_stock_head(model: Any, tasks: ModuleType) -> Any:
    """Return a model YAML with the stock head in the place of a light one; anything else as it is."""
    rows = model.get("head") if isinstance(model, dict) else None
    row = rows[-1] if isinstance(rows, list) and rows else []
    stock = light_heads(tasks).get(module_name(row))
    return {**model, "head": [*rows[:-1], [*row[:2], stock, *row[3:]]]} if stock else model


def check_head_args(document: ModelDocument, tasks: ModuleType) -> None:
    """Raise a ModelYAMLError if the last row does not give a head of Ultralytics what it needs.

    Args:
        document: The model YAML.
        tasks: The module `ultralytics.nn.tasks`.
    """
    row = document.row(len(document.written) - 1)
    cls = vars(tasks).get(light_heads(tasks).get(row.module, row.module))
    needed = needed_args(cls)
    if not needed:
        return
    if cls is not tasks.Classify and not row.is_list:
        row.error(f"'from' must be a list of layers for {row.module}, such as [{', '.join(map(str, row.sources))}].")
    args = [arg for arg in row.all_args if not (document.has_anchors and arg == "anchors")]
    has_more = len(args) > len(needed) and issubclass(cls, tasks.Detect)  # the others have more that may be left out
    if len(args) < len(needed) or has_more:
        example = [str(name if name in AT_THE_TOP else default) for name, default in needed.items()]
        such_as = f", such as [{', '.join(example)}]" if example != [*needed] else ""
        row.error(f"{row.module} takes the args [{', '.join(needed)}]{such_as}, but the row has {len(args)}.")
    if "nc" in needed and (problem := nc_problem(document.d.get("nc"))):
        raise ModelYAMLError.in_file(document.file, problem, "nc")
    if "kpt_shape" in needed and not valid_keypoints(shape := document.d.get("kpt_shape")):
        given = "but it is missing" if shape is None else f"not {shape!r}"
        row.error(
            f"{row.module} needs a 'kpt_shape' at the top of the file, [number of keypoints, 2 or 3] such as [17, 3],"
            f" {given}."
        )


def needed_args(cls: Any) -> dict[str, Any]:
    """Return the args that the row of a head must have, each with its default; none for what is no head."""
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        return {}
    parameters = {p.name: p.default for p in inspect.signature(cls).parameters.values()}
    if cls.__name__ == "Classify":
        return {"nc": None}  # its constructor has the names of a convolution's
    if "ch" not in parameters:
        return {}
    names = list(parameters)
    return {name: parameters[name] for name in names[: min(names.index(p) for p in BY_THE_PARSER if p in names)]}


def nc_problem(nc: Any) -> str:
    """Say what is wrong with the number of classes, '' if nothing is."""
    if nc is None:
        return "'nc', the number of classes, is missing."
    if isinstance(nc, bool) or not isinstance(nc, int) or nc < 1:
        return f"'nc', the number of classes, must be a whole number, at least 1, not {nc!r}."
    return ""


def valid_keypoints(shape: Any) -> bool:
    """Whether a value is [number of keypoints, dimensions]."""
    return isinstance(shape, (list, tuple)) and len(shape) == 2 and isinstance(shape[0], int) and shape[1] in (2, 3)
