"""`python -m benchmarks.processes.train MODEL RUN`: a training in two processes, under torchrun in its processes."""

import argparse
import importlib
import multiprocessing
import os
import sys
from pathlib import Path

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from benchmarks.processes.gloo import OnCPU


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="a model YAML, or the checkpoint to make of the one beside it")
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("start_method", choices=multiprocessing.get_all_start_methods())
    parser.add_argument("--trainer-from", metavar="MODULE", help="module in the working directory with a class Trainer")
    given = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    base = importlib.import_module(given.trainer_from).Trainer if given.trainer_from else DetectionTrainer
    trainer = type("Trainer", (OnCPU, base), {"start_method": given.start_method})
    model = Path(given.model)
    if not model.exists():
        YOLO(model.with_suffix(".yaml")).save(model)
    YOLO(model).train(
        trainer=trainer,
        **{"data": "small.yaml", "imgsz": 64, "epochs": 1, "batch": 8, "nbs": 8, "optimizer": "AdamW", "mosaic": 0},
        **{"device": "cpu", "amp": False, "plots": False},
        **{"project": str(Path(given.run).absolute().parent), "name": Path(given.run).name, "exist_ok": True},
    )


if __name__ == "__main__":
    main()
