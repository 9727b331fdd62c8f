"""Every test leaves the user's Ultralytics settings, datasets and runs alone."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Before anything imports ultralytics, here and in every subprocess of a test.
_HOME = Path(tempfile.mkdtemp(prefix="effyolo-tests-"))
os.environ["YOLO_CONFIG_DIR"] = str(_HOME)
os.environ["YOLO_AUTOINSTALL"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one of two processes, here and in what it starts
os.environ["HF_HUB_OFFLINE"] = "1"  # no test depends on what a hub gives today


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call():
    """Hide pytest from the subprocesses of a test: Ultralytics writes its runs somewhere else where it sees it."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    """The same for those of a fixture."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)


@pytest.fixture(scope="session", autouse=True)
def _remove_home():
    yield
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """A small network that has learned some pictures by heart; they lie beside its checkpoint."""
    from benchmarks.ecosystem import learn

    return learn("yolov5n-effdet.yaml", tmp_path_factory.mktemp("learned"))


@pytest.fixture
def model_yaml(tmp_path):
    """Write a model YAML and return its path."""

    def write(text, name="model.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def lines():
    """What Ultralytics logs."""
    from ultralytics.utils import LOGGER

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    LOGGER.addHandler(handler)
    yield lines
    LOGGER.removeHandler(handler)


@pytest.fixture
def run_python():
    """Run a script in a fresh process and return its result."""

    def run(code, *args, cwd=None, **env):
        return subprocess.run(
            [sys.executable, "-c", code, *args],
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, **env},
            timeout=600,
        )

    return run


RANKS = """
import json, os, torch, torch.distributed as dist, torch.multiprocessing as mp

def run(rank, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    # One write for each process, so that their lines do not run into one another.
    os.write(1, f"{json.dumps([rank, [*work(rank)]])}\\n".encode())
    dist.destroy_process_group()

if __name__ == "__main__":
    import socket
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(run, (port,), nprocs=2, start_method="fork")
"""


@pytest.fixture
def run_ranks(run_python):
    """Run the `work(rank)` of a script in a group of two processes; return what each rank yields."""

    def run(code, cwd):
        done = run_python(f"{code}\n{RANKS}", cwd=cwd)
        assert done.returncode == 0, done.stderr
        found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[0, ", "[1, ")))
        return found[0], found[1]

    return run


@pytest.fixture
def run_json(run_python, tmp_path):
    """Run a script that prints a JSON document as its last line, from an empty directory."""

    def run(code, *args, **env):
        done = run_python(code, *args, cwd=tmp_path, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
