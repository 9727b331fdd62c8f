"""Tables and plots of docs/training.md and the README, from docs/training.json and, for cost, docs/speed.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import neck_study
from benchmarks.page import ROOT, write_between
from effyolo_ultra import list_models
from effyolo_ultra.network import describe

Runs = Sequence[dict[str, Any]]
SETTING = ("data", "imgsz", "epochs", "batch", "device")
SHORT = "training table"  # of the README: the largest pictures alone
NAMES = {"bccd": "BCCD", "shapes": "shapes"}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")  # Okabe and Ito's
STOCK = "#7F7F7F"


class Bar(NamedTuple):
    """What a plot shows of the runs of one kind."""

    label: str
    runs: Runs
    color: str = COLORS[0]


def write(runs: Runs) -> None:
    """Write the tables into the pages and draw the plots."""
    for name, text in tables(runs).items():
        write_between("README.md" if name == SHORT else "docs/training.md", name, text)
    draw(scratch_bars(others(runs)), ROOT / "docs" / "training.png")
    draw(neck_bars(of_necks(runs)), ROOT / "docs" / "training_necks.png")


def tables(runs: Runs) -> dict[str, str]:
    """Return the tables by name."""
    speed = json.loads((ROOT / "docs" / "speed.json").read_text(encoding="utf-8"))
    plain = [run for run in others(runs) if not run["change"]]
    settings = {setting: of for setting, of in grouped(plain, *SETTING).items() if comparable(of)}
    size = SETTING.index("imgsz")
    most = max(setting[size] for setting in settings)
    largest = {setting: of for setting, of in settings.items() if setting[size] == most}
    return {
        "scratch table": scratch_table(settings, speed),
        SHORT: scratch_table(largest, speed),
        "changes table": changes_table(others(runs)),
        "necks table": necks_table(of_necks(runs)),
    }


def of_necks(runs: Runs) -> Runs:
    """Return the runs of the study of necks, in the order of its networks."""
    names = list(neck_study.networks())
    return sorted((run for run in runs if run["model"] in names), key=lambda run: names.index(run["model"]))


def others(runs: Runs) -> Runs:
    """Return the other runs."""
    names = neck_study.networks().keys()
    return [run for run in runs if run["model"] not in names]


def scratch_table(settings: Mapping[tuple, Runs], speed: dict[str, Any]) -> str:
    """The models as they are, with what they cost, in some settings."""
    text = "| data | model | mAP50-95 | of each seed | parameters (M) | GFLOPs | latency (ms) | training (CPU s) |\n"
    text += "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n"
    for setting, of_setting in settings.items():
        for (model,), same in sorted(grouped(of_setting, "model").items(), key=lambda item: -mean(item[1])):
            cost = speed["models"].get(f"{model}.yaml", {})
            latency = speed["latency"]["torch"].get(f"{model}.yaml")
            cells = [named(*setting), f"`{model}`", f"{mean(same):.3f}", seeds(same)]
            cells += [f"{same[0]['parameters'] / 1e6:.1f}", f"{cost['gflops']:.1f}" if cost else "-"]
            cells += [f"{latency:.0f}" if latency else "-"]
            text += f"| {' | '.join(cells)} | {statistics.mean(run['cpu_seconds'] for run in same):.0f} |\n"
    return text


def comparable(runs: Runs) -> bool:
    """Return whether there is more than one model, so that there is something to compare."""
    return len({run["model"] for run in runs}) > 1


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


def necks_table(runs: Runs) -> str:
    """The networks of the study of necks, and what difference their seeds can tell."""
    text = "| data | neck | mAP50-95 | of each seed | parameters (M) | of the neck | GFLOPs | of the neck |\n"
    text += "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n"
    notes = ""
    for title, of_setting in neck_settings(runs).items():
        groups = grouped(of_setting, "model")
        for (model,), same in groups.items():
            network = describe(neck_study.FOLDER / f"{model}.yaml")
            neck = network.of("neck")
            cells = [title, neck_study.title(model), f"{mean(same):.3f}", seeds(same)]
            cells += [f"{network.parameters / 1e6:.2f}", f"{sum(layer.parameters for layer in neck) / 1e6:.2f}"]
            cells += [f"{network.gflops:.2f}", f"{sum(layer.gflops for layer in neck):.2f}"]
            text += f"| {' | '.join(cells)} |\n"
        several = [same for same in groups.values() if len(same) > 1]
        if several:
            deviation = statistics.mean(statistics.variance(run["map"] for run in same) for same in several) ** 0.5
            least = 2 * deviation * (2 / statistics.mean(len(same) for same in several)) ** 0.5
            notes += f"\n{title}: a run has a standard deviation of {deviation:.3f} over the seeds, so\n"
            notes += f"two means that are less than {least:.3f} apart cannot be told from chance.\n"
    return text + notes


def neck_settings(runs: Runs) -> dict[str, Runs]:
    """Return the runs of the study of necks by their setting, in words."""
    groups = grouped(runs, *SETTING, "change").items()
    return {
        f"{named(*key)}{', frozen backbone' * ('frozen_stages' in change)}": same for (*key, change), same in groups
    }


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


def scratch_bars(runs: Runs) -> dict[str, list[Bar]]:
    """The models, ours as they are and with the random weights of before, and stock ones; the best one at the top."""
    settings = grouped([run for run in runs if run["change"] in ("", "init=larger")], *SETTING)
    return {
        named(*setting): [
            Bar(f"{model}\n{change}" if change else model, same, color(model, change))
            for (model, change), same in sorted(grouped(of, "model", "change").items(), key=lambda item: -mean(item[1]))
        ]
        for setting, of in settings.items()
        if comparable(of)
    }


def color(model: str, change: str) -> str:
    """Return the colour of a model: ours, ours changed, or a stock one."""
    return COLORS[1] if change else COLORS[0] if f"{model}.yaml" in list_models() else STOCK


def neck_bars(runs: Runs) -> dict[str, list[Bar]]:
    """The necks, a colour for each kind."""
    return {
        title: [
            Bar(neck_study.title(model), same, COLORS[neck_study.KINDS.index(neck_study.kind(model))])
            for (model,), same in grouped(of_setting, "model").items()
        ]
        for title, of_setting in neck_settings(runs).items()
    }


def draw(panels: Mapping[str, Sequence[Bar]], path: Path) -> None:
    """Draw means as bars, and each seed as a dot; a panel for each setting, bars from the top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.2 + 0.45 * sum(map(len, panels.values()))), layout="constrained")
    heights = {"height_ratios": [*map(len, panels.values())]}
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, gridspec_kw=heights)[:, 0]
    for panel, (title, bars) in zip(axes, panels.items()):
        for y, bar in enumerate(bars):
            panel.barh(y, mean(bar.runs), color=bar.color, alpha=0.5, height=0.6)
            panel.plot([run["map"] for run in bar.runs], [y] * len(bar.runs), "o", color="#000000", markersize=3)
        panel.set_yticks(range(len(bars)), labels=[bar.label for bar in bars], fontsize=8)
        panel.invert_yaxis()
        panel.set_title(title, fontsize=9)
        panel.grid(axis="x", alpha=0.3, linewidth=0.5)
    axes[-1].set_xlabel("mAP50-95, a dot for each seed")
    figure.savefig(path, dpi=130)
