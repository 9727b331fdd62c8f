"""The results as tables in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.speed import bars
from benchmarks.speed.by_hand import BY_HAND

LABELS = {"torch": "torch", "torch.compile": "torch.compile", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
SMALL = 6e6  # parameters of the models in the README


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as text; what was not measured is left empty."""
    return "" if value is None else f"{value:.{digits}f}"


def label(name: str) -> str:
    """Return a model's name without what goes without saying."""
    return f"`{name.removesuffix('.yaml')}`"


def wording(name: str) -> str:
    """Return the name of a model, its backbone, the baseline of building or an import for the table of bars."""
    if name == BY_HAND:
        return "the same modules by hand"
    if name.endswith(" backbone"):
        return "its own backbone"
    if name.startswith("import "):
        return f"`import ultralytics` {name.removeprefix('import ')} us"
    return label(name) if name != "hook" else "the start-up file"


def bars_table(results: Mapping) -> str:
    """Return bars, measured values and whether they were reached."""
    rows = []
    for bar in results["bars"]:
        what = f"{LABELS.get(bar['bar'].removeprefix('latency '), bar['bar'])}: {wording(bar['of'])}"
        if bar["to"] is None:
            times, limit = f"{bar['ms']:.3f} ms", f"< {bar['limit']:g} ms"
        else:
            what += f" of {wording(bar['to'])}"
            times, limit = f"{bar['ms']:.1f} / {bar['to_ms']:.1f} ms", f"<= {bar['limit']:g}"
        rows.append([what, times, number(bar["measured"], 2), limit, "yes" if bar["reached"] else "no"])
    settings = results["settings"]
    sizes = f"{settings['imgsz']}, batch 1; training {settings['training_imgsz']}, batch {settings['training_batch']}"
    return table([f"bar ({sizes})", "times", "measured", "limit", "reached"], rows)


def floors_table(results: Mapping) -> str:
    """Return what the backbone alone takes of the peer, what neck and head add to it, and the least of the whole."""
    least = bars.gflops_ratio()
    rows = [
        [LABELS[runtime], *(number(value, 2) for value in (of_peer, of_backbone, of_peer * least))]
        for runtime, of_peer, of_backbone in bars.floors(results)
    ]
    rows.append(["GFLOPs", "", number(least, 2), ""])
    whole, peer = label(bars.OURS), label(bars.PEER)
    return table(["", f"its backbone, of {peer}", f"{whole}, of its backbone", f"floor of {whole}, of {peer}"], rows)


def models_table(results: Mapping) -> str:
    """Return size, memory, build and training of each model."""
    columns = {"memory": "memory (MiB)", "build": "build (ms)", "training": "training step (ms)"}
    columns["training memory"] = "its memory (MiB)"
    columns = {part: text for part, text in columns.items() if part in results}
    rows = []
    for name, model in results["models"].items():
        values = [number(results[part].get(name), 0) for part in columns]
        rows.append([label(name), f"{model['parameters'] / 1e6:.1f}", f"{model['gflops']:.1f}", *values])
    return table(["model", "parameters (M)", "GFLOPs", *columns.values()], rows)


def runtimes_table(results: Mapping, part: str, names: Iterable[str]) -> str:
    """Return latency or throughput of models in all runtimes."""
    times = results[part]
    shown = [name for name in names if any(name in found for found in times.values())]
    rows = [[label(name), *(number(found.get(name)) for found in times.values())] for name in shown]
    return table(["model", *(LABELS.get(runtime, runtime) for runtime in times)], rows)


def heads_table(results: Mapping) -> str:
    """Return size and time of one network with several heads."""
    runtimes = [x for x in LABELS if any(x in found for found in results["heads"].values())]
    rows = []
    for head, found in results["heads"].items():
        size = [number(found["parameters"] / 1e6, 2), number(found["gflops"], 2)]
        rows.append([f"`{head}`", *size, *(number(found[runtime]) for runtime in runtimes)])
    return table(["head", "parameters (M)", "GFLOPs", *(f"{LABELS[runtime]} (ms)" for runtime in runtimes)], rows)


def startup_table(results: Mapping) -> str:
    """Return what the package costs at start."""
    times = results["startup"]
    rows = [["the start-up file", number(times["hook"], 2), "0.00"]]
    for text, name in (("`import ultralytics`", "import"), ("`from ultralytics import YOLO`", "import YOLO")):
        rows.append([text, number(times[f"{name} with"]), number(times[f"{name} without"])])
    return table(["", "with us (ms)", "without (ms)"], rows)


def short_table(results: Mapping) -> str:
    """Return the README's table: size and latency of the small models."""
    latency = results["latency"]
    rows = []
    for name, model in results["models"].items():
        if model["parameters"] < SMALL:
            times = [number(found.get(name), 0) for found in latency.values()]
            rows.append([label(name), f"{model['parameters'] / 1e6:.1f}", f"{model['gflops']:.1f}", *times])
    runtimes = [f"{LABELS.get(runtime, runtime)} (ms)" for runtime in latency]
    return table(["model", "parameters (M)", "GFLOPs", *runtimes], rows)


def setup_text(results: Mapping) -> str:
    """Return machine, software and settings in words."""
    machine, settings = results["machine"], results["settings"]
    size, half = ("{0} x {0}".format(settings[name]) for name in ("imgsz", "training_imgsz"))
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores{gpu}, {machine['system']}; {settings['threads']} threads",
        machine["date"],
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        f"latency: {size}, batch 1, {settings['repeats']} turns",
        f"throughput: {size}, batch {settings['batch']}, {settings['batch_repeats']} turns",
        f"training step: {half}, batch {settings['training_batch']}, {settings['training_repeats']} turns",
        *(
            []
            if settings["device"] == "cuda"
            else [f"start-up and build: {settings['processes']} fresh processes each"]
        ),
        *(f"failed: {error}" for error in results["errors"]),
    ]
    return "".join(f"* {line}\n" for line in lines)


def tables(results: Mapping) -> dict[str, str]:
    """Return all tables whose parts were measured, by the names that they have in docs/speed.md."""
    found = {"speed setup": setup_text(results)}
    if results["bars"]:
        found["bars table"] = bars_table(results)
        found["floors table"] = floors_table(results)
    found["models table"] = models_table(results)
    for part in ("latency", "throughput"):
        if part in results:
            found[f"{part} table"] = runtimes_table(results, part, results["models"])
    if "heads" in results:
        found["heads table"] = heads_table(results)
    if "startup" in results:
        found["startup table"] = startup_table(results)
    on_gpu = results["settings"]["device"] == "cuda"
    return {f"gpu {name}": text for name, text in found.items()} if on_gpu else found
