"""README.md: the model card of a variant, with the fields at its top that the Hub reads."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from effyolo_ultra import __version__
from effyolo_ultra._plugins import VARIABLE
from effyolo_ultra.network import Network, describe
from effyolo_ultra.sharing.contents import METADATA, PICTURE
from effyolo_ultra.sharing.metadata import Metadata

# What the Hub calls the tasks; https://huggingface.co/tasks
PIPELINES = {
    "detect": "object-detection",
    "obb": "object-detection",
    "segment": "image-segmentation",
    "semantic": "image-segmentation",
    "pose": "keypoint-detection",
    "classify": "image-classification",
    "depth": "depth-estimation",
}
SHOWN_NAMES = 20  # of the classes, in the text; all are in the metadata


def card(network: nn.Module, metadata: Metadata, title: str, has_picture: bool) -> str:
    """Return the model card of a network.

    Args:
        network: The network.
        metadata: What is known of it.
        title: What to call it.
        has_picture: Whether there is a picture of it.
    """
    names = list(metadata.names.values())
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    parts = [
        front_matter(metadata),
        f"# {escaped(title)}",
        f"A network of [Ultralytics YOLO](https://docs.ultralytics.com) for the task `{metadata.task}`, packed by"
        " `effyolo pack`.",
        f"Classes ({len(names)}): {', '.join(map(escaped, names[:SHOWN_NAMES]))}{more}.",
        "## Use",
        USE.format(version=__version__),
        *own_modules(metadata),
        "## Network",
        *([f"![The network]({PICTURE})"] if has_picture else []),
        *network_parts(network, metadata),
        "## Training",
        *training_parts(metadata),
        "## Licence",
        f"{escaped(metadata.license)}, see the file LICENSE.",
    ]
    return "\n\n".join(parts) + "\n"


USE = """\
Install the Python package effyolo_ultra, version {version} or later, as its README says. Then:

```bash
effyolo pull USER/REPO -o my-variant.pt     # or, of a zip or a folder: effyolo unpack my-variant.zip -o my-variant.pt
yolo predict model=my-variant.pt source=image.jpg
yolo train model=my-variant.pt data=your-data.yaml
```

The weights are safetensors, and `effyolo` builds the network from the model YAML: no pickle is read, and no code of the
repository is run."""


def own_modules(metadata: Metadata) -> list[str]:
    """Return what is said of the modules that are not in the variant."""
    listed = ", ".join(f"`{name}` (`{cls}`)" for name, cls in metadata.modules.items())
    return [f"It needs modules whose code is not in it, named in `{VARIABLE}`: {listed}."] if listed else []


def front_matter(metadata: Metadata) -> str:
    """Return the fields that the Hub reads."""
    fields = {
        "license": metadata.license.lower(),
        "library_name": "ultralytics",
        "pipeline_tag": PIPELINES[metadata.task],
        "tags": ["effyolo-ultra", "ultralytics", "yolo", metadata.task],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"


def network_parts(network: nn.Module, metadata: Metadata) -> list[str]:
    """Return what is said of the network: a line on the whole, and a table of its layers."""
    stride = max(1, round(max(metadata.stride)))
    size = 224 if metadata.task == "classify" else 640  # as in Ultralytics' tables
    imgsz = -(-size // max(stride, 32)) * max(stride, 32)
    try:
        described = describe(network, imgsz)
    except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
        first = str(error).partition("\n")[0]
        return [f"{sum(p.numel() for p in network.parameters()):,} parameters. (No table of the layers: {first})"]
    return [summary(described), table(("#", "from", "layer", "output", "parameters"), map(row, described.layers))]


def summary(network: Network) -> str:
    """Return the whole network in a list."""
    lines = {
        "Backbone": network.backbone,
        "Neck": network.neck or "none",
        "Head": f"{network.head}, strides {', '.join(map(str, network.strides))}" if network.strides else network.head,
        "Size": f"{network.parameters:,} parameters, {network.gflops:.1f} GFLOPs for {network.imgsz} x {network.imgsz}",
    }
    return "\n".join(f"- {name}: {escaped(text)}" for name, text in lines.items())


def row(layer: Any) -> Sequence[str]:
    """Return the line of a layer."""
    outputs = ", ".join(f"{s.channels} x {s.height} x {s.width}" for s in layer.outputs)
    sources = ", ".join("image" if source < 0 else str(source) for source in layer.sources)
    return str(layer.index), sources, escaped(layer.module), outputs, f"{layer.parameters:,}"


def training_parts(metadata: Metadata) -> list[str]:
    """Return what is known of the training."""
    args = metadata.train_args
    shown = (
        ("data", "epochs", "batch", "imgsz", "optimizer", "lr0") if args.get("data") else ()
    )  # else it was not trained
    known = [f"`{key}={args[key]}`" for key in shown if key in args]
    parts = [f"Trained with {', '.join(known)}; all arguments are in `{METADATA}`."] if known else []
    if metadata.metrics:
        rows = [(escaped(name), f"{value:.4g}") for name, value in metadata.metrics.items()]
        parts.append("Metrics of the validation at the end of the training:")
        parts.append(table(("metric", "value"), rows))
    used = ", ".join(f"{name} {version}" for name, version in metadata.versions.items())
    return [*parts, f"Made with {escaped(used)}{f', {escaped(metadata.date)}' if metadata.date else ''}."]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Return a text in which nothing means anything to Markdown or HTML."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>()#+!|" else c for c in text)


def picture(network: nn.Module, title: str) -> bytes | None:
    """Return the picture of a network, None where it cannot be drawn."""
    try:
        from effyolo_ultra.drawing.picture import draw
    except ImportError:  # not part of this installation
        return None
    from matplotlib import rc_context

    with tempfile.TemporaryDirectory() as folder:
        try:
            with rc_context({"svg.hashsalt": PICTURE}):  # names of its parts that do not change from time to time
                drawn = Path(draw(network, Path(folder) / PICTURE, title=title)).read_bytes()
            return re.sub(rb"\s*<dc:date>.*?</dc:date>", b"", drawn)  # so that the same network gives the same bytes
        except (ValueError, RuntimeError, NotImplementedError, TypeError):  # what has no form without data
            return None
