"""Cost of the backbone's padding and of its gradient checkpointing, for docs/backbones.md.

python -m benchmarks.backbone            prints the tables
python -m benchmarks.backbone --write    writes them into docs/backbones.md

Everything is a ratio of medians; the variants take turns, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import timm
import torch
from torch import nn

from benchmarks.memory import peak_bytes
from benchmarks.page import write_between
from effyolo_ultra.nn import EfficientNetBackbone

REPEATS = 9


class Original(nn.Module):
    """A timm EfficientNet as it is, with the normalisation before it that ours has."""

    def __init__(self, ours: EfficientNetBackbone, name: str):
        super().__init__()
        self.body = timm.create_model(name, features_only=True, out_indices=(2, 3, 4))
        self.register_buffer("mean", ours.mean)
        self.register_buffer("std", ours.std)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features."""
        return self.body((image - self.mean) / self.std)


def medians(variants: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median of the seconds of each variant."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(REPEATS + 2):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if repeat >= 2:  # warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def inference(model: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    """Return one forward pass in eval mode."""
    model = model.eval().to(memory_format=torch.channels_last)
    image = image.to(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            model(image)

    return run


def training_step(model: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    """Return one forward and backward pass in training mode."""
    model = model.train()

    def run() -> None:
        model.zero_grad()
        sum(x.mean() for x in model(image)).backward()

    return run


def padding_table() -> str:
    """Time of timm's SAME padding, ours, and symmetric padding, which gives other numbers."""
    lines = "| backbone | pass | timm's `tf_` model | ours, the same numbers | symmetric padding, other numbers |\n"
    lines += "| --- | --- | ---: | ---: | ---: |\n"
    for variant in ("b0", "b3"):
        for title, kind, shape in (
            ("inference, 1 x 640 x 640", inference, (1, 3, 640, 640)),
            ("training step, 4 x 224 x 224", training_step, (4, 3, 224, 224)),
        ):
            image = torch.rand(shape)
            ours = EfficientNetBackbone(variant)
            models = {
                "timm": Original(ours, ours.model_name),
                "ours": ours,
                "symmetric": Original(ours, ours.model_name.removeprefix("tf_")),
            }
            seconds = medians({name: kind(model, image) for name, model in models.items()})
            ratios = " | ".join(f"{seconds[name] / seconds['timm']:.2f}" for name in models)
            lines += f"| {variant.upper()} | {title} | {ratios} |\n"
    return lines


def checkpointing_table() -> str:
    """Memory and time of a training step with `grad_checkpointing`."""
    lines = "| backbone | activations in memory | time of a training step |\n| --- | ---: | ---: |\n"
    for variant in ("b0", "b3"):
        image = torch.rand(4, 3, 224, 224)
        plain, saving = (EfficientNetBackbone(variant, grad_checkpointing=on) for on in (False, True))
        memory = peak_bytes(saving, image) / peak_bytes(plain, image)
        seconds = medians({"plain": training_step(plain, image), "saving": training_step(saving, image)})
        lines += f"| {variant.upper()} | {memory:.2f} | {seconds['saving'] / seconds['plain']:.2f} |\n"
    return lines


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/backbones.md")
    write = parser.parse_args().write
    torch.set_flush_denormal(True)
    for name, table in (("padding", padding_table), ("checkpointing", checkpointing_table)):
        write_between("docs/backbones.md", f"{name} table", table()) if write else print(table())


if __name__ == "__main__":
    main()
