"""The bars that the zoo is held to: a measured time or ratio, and whether it is low enough."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.speed.by_hand import BY_HAND
from benchmarks.speed.by_hand import NAME as BUILT
from effyolo_ultra.network import describe

OURS, PEER = "yolov5n-effdet.yaml", "tf_efficientdet_d0"
BACKBONE = f"{OURS} backbone"
MODELS = [OURS, PEER]

# What is compared, with what, where both stand in the results, and the most that the quotient may be.
RATIOS = (
    ("latency", "torch", OURS, PEER, 0.52),
    ("latency", "onnxruntime", OURS, PEER, 0.85),
    ("latency", "openvino", OURS, PEER, 0.36),
    ("latency", "torch", OURS, BACKBONE, 1.15),
    ("latency", "onnxruntime", OURS, BACKBONE, 1.25),
    ("startup", "", "import with", "import without", 1.05),
    ("build", "", BUILT, BY_HAND, 1.2),
    ("training", "", OURS, PEER, 0.8),
)
HOOK_MS = 1.0


def bars(results: Mapping[str, dict]) -> list[dict]:
    """Return the bars whose parts were measured."""
    found = []
    for part, runtime, name, other, limit in RATIOS:
        times = results.get(part, {})
        times = times.get(runtime, {}) if runtime else times
        if name in times and other in times:
            ratio = times[name] / times[other]
            what = " ".join(filter(None, (part, runtime)))
            bar = {"bar": what, "of": name, "to": other, "ms": times[name], "to_ms": times[other], "measured": ratio}
            found.append({**bar, "limit": limit, "reached": ratio <= limit})
    if "hook" in results.get("startup", {}):
        hook = results["startup"]["hook"]
        bar = {"bar": "startup hook, ms", "of": "hook", "to": None, "ms": hook, "to_ms": None, "measured": hook}
        found.append({**bar, "limit": HOOK_MS, "reached": hook < HOOK_MS})
    return found


def floors(results: Mapping[str, dict]) -> list[tuple[str, float, float]]:
    """Return (runtime, the backbone alone of the peer, the network of its backbone) of each runtime that has all three.

    No neck and head can bring the network below the first. The second is what neck and head cost.
    """
    return [
        (runtime, times[BACKBONE] / times[PEER], times[OURS] / times[BACKBONE])
        for runtime, times in results.get("latency", {}).items()
        if {OURS, PEER, BACKBONE} <= times.keys()
    ]


def gflops_ratio() -> float:
    """Return the GFLOPs of the network as a multiple of its backbone's."""
    network = describe(OURS)
    return network.gflops / sum(layer.gflops for layer in network.of("backbone"))
