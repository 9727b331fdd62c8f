"""Two trials of `tune(use_ray=True)` side by side; needs `pip install "ray[tune]"`."""

import sys
from pathlib import Path

import ray
from ray import tune
from ultralytics import YOLO


def main():
    model, run = sys.argv[1], str(Path(sys.argv[2]).absolute())
    model = str(Path(model).absolute()) if Path(model).is_file() else model  # a trial runs in a folder of its own
    ray.init(num_cpus=2, include_dashboard=False)
    results = YOLO(model).tune(
        use_ray=True,
        iterations=2,
        search_alg="random",
        space={"lr0": tune.uniform(1e-4, 1e-2)},
        **{"data": str(Path("small.yaml").absolute()), "imgsz": 64, "epochs": 2, "batch": 8},
        **{"device": "cpu", "amp": False, "plots": False},
        **{"project": str(Path(run).parent), "name": Path(run).name, "exist_ok": True},
    )
    assert not results.errors, results.errors
    first, second = results
    ends = [result.metrics["timestamp"] for result in results]
    seconds = [result.metrics["time_total_s"] for result in results]
    assert first.metrics["pid"] != second.metrics["pid"]
    overlap = min(ends) - max(end - took for end, took in zip(ends, seconds))
    assert overlap > 0, "one trial waited for the other"
    for i in range(2):
        epochs = Path(f"{run}_{i:05d}", "results.csv").read_text(encoding="utf-8").splitlines()[1:]
        assert len(epochs) == 2
    print(f"2 trials, of {seconds[0]:.0f} s and {seconds[1]:.0f} s, {overlap:.0f} s of them at once")


if __name__ == "__main__":
    main()
