"""`python -m benchmarks.kills.limited MODEL RUN ...`: a training whose files may not grow beyond a limit.

The system ends the writing at the very byte: as a kill does, or with an error, as a full disk does. MODEL is a model
YAML, or the last.pt of a training to resume. Needs no rights, but a Unix.
"""

import argparse
import resource
import signal
from pathlib import Path

from ultralytics import YOLO

EPOCHS = 3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--epoch", type=int, default=1, help="the epoch, from 0, from whose end the limit holds")
    parser.add_argument("--share", type=float, default=0.5, help="the limit, as a share of the last.pt that is there")
    parser.add_argument("--how", choices=["kill", "full"], default="kill")
    given = parser.parse_args()

    def limit(trainer):
        if trainer.epoch == given.epoch:
            if given.how == "kill":
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and gets an error instead
            size = int(given.share * trainer.last.stat().st_size)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    model = YOLO(given.model)
    model.add_callback("on_train_epoch_end", limit)
    if given.model.endswith(".pt"):
        model.train(resume=True)
    else:
        where = {"project": str(given.run.absolute().parent), "name": given.run.name, "exist_ok": True}
        size = {"imgsz": 64, "batch": 8, "epochs": EPOCHS}
        model.train(data="small.yaml", **size, **where, device="cpu", plots=False, pretrained=False)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
