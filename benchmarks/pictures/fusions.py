"""The picture of weighted fusion: what the two modules do, and what each normalisation makes of the same weights."""

from __future__ import annotations

import torch

from benchmarks.pictures.sheet import BLACK, BLUE, GRAY, GREEN, PURPLE, RED, Sheet
from effyolo_ultra.nn import BiFPN_Add, BiFPN_Concat
from effyolo_ultra.nn.fusion import FUSIONS, FusionWeights

RAW = (1.2, 0.6, -0.3)
FORMULA = {
    "fast": r"$\frac{\mathrm{relu}(w_i)}{\epsilon + \Sigma_j\,\mathrm{relu}(w_j)}$",
    "softmax": r"$\frac{\exp(w_i)}{\Sigma_j\,\exp(w_j)}$",
    "sum": "1, no weights",
}
COLORS = (BLUE, RED, GREEN)


def fusion() -> Sheet:
    """Draw BiFPN_Add and BiFPN_Concat on two feature maps, and the normalised weights of three inputs."""
    sheet = Sheet(17.6, 9.4)
    sheet.text((0.3, 9), "Weighted fusion: two modules, three ways to normalise", align="left", font=10)
    rows = [("BiFPN_Add", BiFPN_Add(2), (64, 64), "sum"), ("BiFPN_Concat", BiFPN_Concat(2), (64, 128), "concatenation")]
    for i, (name, module, channels, what) in enumerate(rows):
        y = 6.3 - 4 * i
        maps = [torch.zeros(1, c, 80, 80) for c in channels]
        out = module(maps)
        sheet.text((0.3, y + 1.65), name, BLACK, align="left", font=9, family="monospace")
        for k, x in enumerate(maps):
            at = y + 0.75 - 1.5 * k
            sheet.box(
                (1.4, at), (2.2, 1.0), f"x{k + 1}: {x.shape[1]} x {x.shape[2]} x {x.shape[3]}", COLORS[k], font=7.5
            )
            sheet.arrow((2.5, at), (3.0, at))
            sheet.box((3.7, at), (1.4, 0.8), f"times w{k + 1}", GRAY)
            sheet.arrow((4.4, at), (5.0, y + 0.25 - 0.5 * k))
        sheet.box((6.1, y), (2.2, 1.2), what, PURPLE)
        sheet.arrow((7.2, y), (7.7, y))
        sheet.text((7.8, y), f"{out.shape[1]} x\n{out.shape[2]} x {out.shape[3]}", align="left")
    sheet.text((11.2, 8.2), "weights of three inputs", GRAY, align="left")
    bars(sheet, 10.3, 7.05, RAW, "as learned", "")
    for i, fusion in enumerate(FUSIONS):
        weights = FusionWeights(len(RAW), fusion).eval()
        if fusion == "sum":
            values = [float(x) for x in weights([torch.ones(1)] * len(RAW))]
        else:
            weights.weight.data = torch.tensor(RAW)
            values = weights.normalized().tolist()
        bars(sheet, 10.3, 5.05 - 1.95 * i, values, f"fusion: {fusion}", FORMULA[fusion])
    return sheet


def bars(sheet: Sheet, x: float, y: float, values: list[float] | tuple[float, ...], title: str, formula: str) -> None:
    """Draw one bar for each value, from a line at the left."""
    sheet.text((x + 4.6, y + 0.55), title, align="left", family="monospace", font=8)
    sheet.text((x + 4.6, y - 0.3), formula, align="left", font=13 if "$" in formula else 8)
    for i, value in enumerate(values):
        at, length = y + 0.5 * (1 - i), 2.2 * value
        sheet.axes.barh(at, length, 0.36, left=x + 0.9, color=COLORS[i])
        sheet.text((x + 0.9 + max(length, 0) + 0.15, at), f"{value:.2f}", align="left", font=7.5)
    sheet.axes.plot([x + 0.9] * 2, [y - 0.75, y + 0.75], color=BLACK, linewidth=0.8)
