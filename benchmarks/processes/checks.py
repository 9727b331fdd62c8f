"""Trainings in several processes, and what must be true of them. Each function starts them and returns at their end."""

import json
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import child
from benchmarks.page import ROOT

TRAIN = ("-m", "benchmarks.processes.train")
TIMEOUT_S = 600


def environment() -> dict[str, str]:
    """Return the environment of a training in a folder of `write_folder`."""
    return child.environment(OMP_NUM_THREADS="1", EFFYOLO_ULTRA_MODULES="mine.py", HF_HUB_OFFLINE="1")


def start(folder: Path, *command: str) -> subprocess.Popen:
    """Start Python with a command."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment(), **pipe)


def end(*processes: subprocess.Popen) -> None:
    """Wait for the end of processes that run at once."""
    with ThreadPoolExecutor() as pool:  # each is read, so that none waits for a reader
        printed = [text for text, _ in pool.map(lambda process: process.communicate(timeout=TIMEOUT_S), processes)]
    for process, text in zip(processes, printed):
        assert process.returncode == 0, text


def launch(folder: Path, model: str, run: str, start_method: str) -> subprocess.Popen:
    """Start two processes as Ultralytics does for two GPUs: by the file that it writes, and torchrun."""
    return start(folder, *TRAIN, model, run, start_method)


def launch_hosts(folder: Path, model: str, run: str, start_method: str) -> list[subprocess.Popen]:
    """Start a torchrun for each of two hosts, here on one machine, with the trainer of docs/many_machines.md."""
    page = (ROOT / "docs" / "many_machines.md").read_text(encoding="utf-8")
    [script] = re.findall(r"<!-- run: many hosts -->\n```python\n(.*?)```", page, re.DOTALL)
    (folder / "many_hosts.py").write_text(script, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    given = (*TRAIN, model, run, start_method, "--trainer-from", "many_hosts")
    return [start(folder, *torchrun, "--node-rank", str(rank), *given) for rank in range(2)]


def check_group(folder: Path, run: str, start_method: str) -> str:
    """Check what the two processes of a training have left, and say it.

    Raises:
        AssertionError: If they are not one training.
    """
    first, second = (json.loads((folder / run / f"rank{rank}.json").read_text("utf-8")) for rank in range(2))
    assert first["network"] == second["network"], "they have built different networks"
    opened = [record["opened"].count("b0.pth") > 0 for record in (first, second)]
    assert opened == [True, False], f"weights were read by {opened}, not by the first process alone"
    assert first["backbone"] == second["backbone"], "the first process has not handed its weights on"
    assert first["raised"] == second["raised"] == "on rank 0", "an error of the first process is not one of both"
    seen = [set(record["pictures"]) for record in (first, second)]
    assert seen[0] and seen[1] and not seen[0] & seen[1], "both saw the same pictures"
    assert first["end"] == second["end"] != first["start"] == second["start"], "gradients are not shared"
    assert first["workers"] == [1, start_method], "pictures were not loaded by a worker"
    epochs = (folder / run / "results.csv").read_text("utf-8").splitlines()[1:]
    assert len(epochs) == 1 and (folder / run / "weights" / "last.pt").is_file()
    return f"{len(first['network'])} tensors of parameters equal in both after {first['steps']} steps"
