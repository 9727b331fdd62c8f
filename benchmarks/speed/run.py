"""Measures the parts that are asked for and gathers them in one document."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.speed import bars, heads
from benchmarks.speed.building import build_times
from benchmarks.speed.images import natural_images
from benchmarks.speed.measures import gflops, milliseconds, parameters, peak_mib
from benchmarks.speed.models import Backbone, Model, Yolo, family, make_model
from benchmarks.speed.runtimes import RUNTIMES
from benchmarks.speed.settings import Settings, machine
from benchmarks.speed.startup import startup_times
from benchmarks.speed.training import training_step

PARTS = ("latency", "throughput", "memory", "training", "build", "startup", "heads")


class Run:
    """One run, in one process; what cannot run is noted in `errors` and the others go on."""

    def __init__(self, settings: Settings, folder: Path):
        self.settings, self.folder = settings, folder
        self.errors: list[str] = []

    def measure(self, plan: Mapping[str, Sequence[str]], runtimes: Sequence[str]) -> dict[str, object]:
        """Measure the parts of a plan: part -> names of models, of "heads": rows, of "startup": none.

        "compile" has those of "latency" that are compiled.
        """
        settings = self.settings
        models = {name: make_model(name, settings.imgsz, self.folder) for name in self.names(plan)}
        results: dict[str, object] = {"machine": machine(), "settings": dataclasses.asdict(settings)}
        results["models"] = {name: {"family": family(name), **self.size(model)} for name, model in models.items()}
        if "latency" in plan:
            results["latency"] = {}
            for runtime in runtimes:
                chosen = [models[x] for x in plan["compile" if "compile" in runtime else "latency"]]
                chosen += [Backbone(x) for x in chosen if isinstance(x, Yolo) and x.name == bars.OURS]
                results["latency"][runtime] = self.times(chosen, runtime, 1, settings.repeats)
        if "throughput" in plan:
            results["throughput"] = {}
            for runtime in (x for x in runtimes if "compile" not in x):
                chosen = [models[x] for x in plan["throughput"]]
                times = self.times(chosen, runtime, settings.batch, settings.batch_repeats)
                results["throughput"][runtime] = {name: 1000 * settings.batch / ms for name, ms in times.items()}
        if "memory" in plan:
            results["memory"] = {name: self.memory(models[name]) for name in plan["memory"]}
        if "training" in plan:
            results["training"], results["training memory"] = self.training(plan["training"])
        if "build" in plan:
            say("build")
            results["build"] = build_times(plan["build"], settings.imgsz, settings.threads, settings.processes)
        if "startup" in plan:
            say("startup")
            results["startup"] = startup_times(settings.processes)
        if "heads" in plan:
            results["heads"] = self.heads(plan["heads"], [x for x in runtimes if x in ("torch", "onnxruntime")])
        return {**results, "bars": bars.bars(results) if settings.device == "cpu" else [], "errors": self.errors}

    @staticmethod
    def names(plan: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the models of a plan, each once, in order; those that are only built need no row."""
        parts = ("latency", "throughput", "memory", "training")
        return list(dict.fromkeys(name for part in parts for name in plan.get(part, ())))

    def size(self, model: Model) -> dict[str, float]:
        """Return parameters and GFLOPs of a model as it is at inference."""
        say(f"size {model.name}")
        images = natural_images(1, self.settings.imgsz)
        return {"parameters": parameters(model.inference), "gflops": gflops(model.inference, images)}

    def times(self, models: Sequence[Model], runtime: str, batch: int, repeats: int) -> dict[str, float]:
        """Return the median time of each model in a runtime, in milliseconds."""
        calls = {}
        for model in models:
            say(f"{runtime}, batch {batch}: {model.name}")
            call = self.attempt(f"{runtime}, {model.name}", RUNTIMES[runtime], model, batch, self.settings)
            if call:
                calls[model.name] = call
        return milliseconds(calls, repeats, self.settings.warm_up if batch == 1 else 1)

    def memory(self, model: Model) -> float:
        """Return the peak of the memory (MiB) of what a forward pass of one image in torch makes."""
        call = RUNTIMES["torch"](model, 1, self.settings)
        call()
        return peak_mib(call)

    def training(self, names: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
        """Return time (ms) and peak memory (MiB) of a training step of each model."""
        steps = {}
        for name in names:
            say(f"training {name}")
            model = make_model(name, self.settings.training_imgsz, self.folder)
            step = self.attempt(
                f"training, {name}", training_step, model, self.settings.training_batch, self.settings.device
            )
            if step:
                steps[name] = step
        times = milliseconds(steps, self.settings.training_repeats, 1)
        return times, {name: peak_mib(step) for name, step in steps.items()}

    def heads(self, rows: Sequence[str], runtimes: Sequence[str]) -> dict[str, dict[str, object]]:
        """Return size and time of one network with several heads."""
        models = {row: heads.WithHead(row, self.settings.imgsz, self.folder) for row in rows}
        found = {row: self.size(model) for row, model in models.items()}
        for runtime in runtimes:
            times = self.times(list(models.values()), runtime, 1, self.settings.repeats)
            for row, model in models.items():
                found[row][runtime] = times.get(model.name)
        return found

    def attempt(self, what: str, function: Callable, *args: object) -> Callable | None:
        """Return what the function gives, or None and a note of what it raised."""
        try:
            return function(*args)
        except Exception as error:
            first_line = (str(error).splitlines() or [""])[0]
            self.errors.append(f"{what}: {type(error).__name__}: {first_line}")
            say(self.errors[-1])
            return None


def say(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def quieten(settings: Settings) -> None:
    """Give torch its threads, let it flush denormals, and keep Ultralytics' reports out of the output."""
    import logging
    import warnings

    from ultralytics.utils import LOGGER

    # Threads take this over from the one that starts them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(settings.threads)
    LOGGER.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of torch, about its tracer
