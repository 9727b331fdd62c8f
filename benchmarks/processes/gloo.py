"""What Ultralytics' trainer needs for two processes on the CPU; it itself makes groups of processes on GPUs only."""

import hashlib
import json
import multiprocessing
import sys
from pathlib import Path

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ultralytics.utils import LOCAL_RANK, RANK

from effyolo_ultra.training import on_first_rank

RANKS = 2
OPENED = []  # the names of the files that this process has opened
if RANK != -1:
    sys.addaudithook(lambda event, args: event == "open" and OPENED.append(Path(str(args[0])).name))


def digest(tensors):
    """Return a short sum of tensors, equal for equal numbers."""
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()[:16]


class OnCPU:
    """What a trainer needs for a group of processes on the CPU, and a record of what each of them saw.

    The records are `rank0.json` and `rank1.json` in the folder of the run.
    """

    start_method = "spawn"  # of the workers that load pictures

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ddp, self.world_size = LOCAL_RANK == -1, self.world_size or RANKS
        self.args.workers = int(RANK <= 0)  # on a CPU Ultralytics takes none
        self.record = {"raised": "", "pictures": []}

    def _setup_ddp(self):
        multiprocessing.set_start_method(self.start_method, force=True)
        dist.init_process_group("gloo", rank=RANK, world_size=self.world_size)
        try:
            on_first_rank(self._fail, self.device)
        except ZeroDivisionError as error:
            self.record["raised"] = str(error)
        self.world_size = 0  # until the network stands: there Ultralytics gives DDP the number of a GPU

    def _fail(self):
        raise ZeroDivisionError(f"on rank {RANK}")

    def _build_train_pipeline(self):  # comes right behind DDP
        self.record["network"] = [(name, list(p.shape)) for name, p in self.model.named_parameters()]
        self.record["backbone"] = digest(self.model.model[0].parameters())
        self.world_size = dist.get_world_size()
        # Ultralytics allows unused parameters; here they are an error.
        self.model = DistributedDataParallel(self.model, find_unused_parameters=False)
        self.record["start"] = digest(self.model.parameters())
        super()._build_train_pipeline()

    def preprocess_batch(self, batch):
        self.record["pictures"] += [Path(file).name for file in batch["im_file"]]
        return super().preprocess_batch(batch)

    def final_eval(self):
        """Ultralytics would take the GPU of the process; each epoch has been validated already."""

    def _do_train(self):
        super()._do_train()
        self.record["end"] = digest(self.model.parameters())
        self.record["steps"] = int(max(state["step"] for state in self.optimizer.state.values()))
        self.record["opened"] = OPENED
        self.record["workers"] = [self.train_loader.num_workers, multiprocessing.get_start_method()]
        (self.save_dir / f"rank{RANK}.json").write_text(json.dumps(self.record), encoding="utf-8")
        dist.barrier()
        dist.destroy_process_group()
