"""The tables and the plot of docs/training.md, from docs/training.json and, for cost, docs/speed.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import ROOT, write_between

Runs = Sequence[dict[str, Any]]
SETTING = ("data", "imgsz", "epochs", "batch", "device")
NAMES = {"bccd": "BCCD", "shapes": "shapes"}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")  # Okabe and Ito's


def write(runs: Runs) -> None:
    """Write the tables into the page and draw the plot."""
    for name, text in tables(runs).items():
        write_between("docs/training.md", name, text)
    draw(runs, ROOT / "docs" / "training.png")


def tables(runs: Runs) -> dict[str, str]:
    """Return the tables by name."""
    speed = json.loads((ROOT / "docs" / "speed.json").read_text(encoding="utf-8"))
    return {"scratch table": scratch_table(runs, speed), "changes table": changes_table(runs)}


def scratch_table(runs: Runs, speed: dict[str, Any]) -> str:
    """The models as they are, with what they cost."""
    text = "| data | model | mAP50-95 | of each seed | parameters (M) | GFLOPs | latency (ms) | training (CPU s) |\n"
    text += "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n"
    plain = [run for run in runs if not run["change"]]
    for setting, of_setting in grouped(plain, *SETTING).items():
        for (model,), same in sorted(grouped(of_setting, "model").items(), key=lambda item: -mean(item[1])):
            cost = speed["models"].get(f"{model}.yaml", {})
            latency = speed["latency"]["torch"].get(f"{model}.yaml")
            cells = [named(*setting), f"`{model}`", f"{mean(same):.3f}", seeds(same)]
            cells += [f"{same[0]['parameters'] / 1e6:.1f}", f"{cost['gflops']:.1f}" if cost else "-"]
            cells += [f"{latency:.0f}" if latency else "-"]
            text += f"| {' | '.join(cells)} | {statistics.mean(run['cpu_seconds'] for run in same):.0f} |\n"
    return text


def changes_table(runs: Runs) -> str:
    """The same models with one thing changed."""
    text = "| data | model | change | mAP50-95 | of each seed |\n| --- | --- | --- | ---: | --- |\n"
    changed = {(run["model"], *(run[key] for key in SETTING)) for run in runs if run["change"]}
    for group, same_model in sorted(grouped(runs, "model", *SETTING).items()):
        if group in changed:
            for (change,), same in sorted(grouped(same_model, "change").items(), key=lambda item: -mean(item[1])):
                what = ", ".join(f"`{part}`" for part in change.split(",")) if change else "none"
                text += f"| {named(*group[1:])} | `{group[0]}` | {what} | {mean(same):.3f} | {seeds(same)} |\n"
    return text


def grouped(runs: Runs, *keys: str) -> dict[tuple, list[dict[str, Any]]]:
    """Group runs by the values of keys."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
    return groups


def mean(runs: Runs) -> float:
    """Return the mean mAP50-95."""
    return statistics.mean(run["map"] for run in runs)


def seeds(runs: Runs) -> str:
    """List the mAP50-95 of each seed."""
    return ", ".join(f"{run['map']:.3f}" for run in runs)


def named(data: str, imgsz: int, epochs: int, batch: int, device: str) -> str:
    """Name a setting."""
    where = "" if device == "CPU" else f", {device}"
    return f"{NAMES.get(data, data)}, {imgsz} px, {epochs} epochs, batch {batch}{where}"


def draw(runs: Runs, path: Path) -> None:
    """Draw the mean of each model as a bar, and each seed as a dot, one panel for each setting."""
    from matplotlib.figure import Figure

    settings = grouped([run for run in runs if run["change"] in ("", "init=larger")], *SETTING)
    figure = Figure(
        figsize=(6.4, 1.2 + 0.45 * sum(len(grouped(same, "model", "change")) for same in settings.values()))
    )
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(settings), 1, squeeze=False, sharex=True)[:, 0]
    for panel, (setting, of_setting) in zip(panels, settings.items()):
        bars = sorted(grouped(of_setting, "model", "change").items(), key=lambda item: mean(item[1]))
        for y, ((_, change), same) in enumerate(bars):
            panel.barh(y, mean(same), color=COLORS[1] if change else COLORS[0], alpha=0.5, height=0.6)
            panel.plot([run["map"] for run in same], [y] * len(same), "o", color="#000000", markersize=3)
        labels = [f"{model}\n{change}" if change else model for (model, change), _ in bars]
        panel.set_yticks(range(len(bars)), labels=labels, fontsize=8)
        panel.set_title(named(*setting), fontsize=9)
        panel.grid(axis="x", alpha=0.3, linewidth=0.5)
    panels[-1].set_xlabel("mAP50-95, a dot for each seed")
    figure.savefig(path, dpi=130)
