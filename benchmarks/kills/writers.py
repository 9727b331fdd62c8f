"""What this package writes, killed at random moments and at random bytes, and on a full disk."""

import functools
import http.server
import os
import random
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from ultralytics import YOLO

from benchmarks.kills.disk import small_disk
from effyolo_ultra import compose, draw, pack, prune, unpack, write_model
from effyolo_ultra.shapes import make_shapes
from effyolo_ultra.sharing.contents import read
from effyolo_ultra.weights._sources import UrlFile

OLD = b"what was there before"


class Writer(NamedTuple):
    """Something that writes.

    Attributes:
        name: What it is called in the table.
        file: The name of what it writes.
        write: Writes it to a path, over what is there.
        check: Raises an error for a path that is not complete.
    """

    name: str
    file: str
    write: Callable[[Path], object]
    check: Callable[[Path], object]


def writers(folder: Path, url: str) -> list[Writer]:
    """Return all of them. The folder holds what they read, and the URL gives its weights.pth."""
    text = compose(backbone="b0")
    checkpoint = folder / "best.pt"
    load = functools.partial(torch.load, weights_only=False)

    def download(path: Path) -> Path:
        torch.hub.set_dir(str(path.parent.parent))
        source = UrlFile(url)
        return source.cached() or source.download(source.ask(8))

    def equal(path: Path, content: bytes) -> None:
        if path.read_bytes() != content:
            raise ValueError(f"{path} is not complete")

    def shapes(path: Path) -> Path:
        return make_shapes(path, train=30, val=6, imgsz=96)

    return [
        Writer("pictures of `shapes.yaml`", "shapes", shapes, shapes),
        Writer("download of weights", "checkpoints/weights.pth", download, load),
        Writer(
            "`effyolo new -o`",
            "m.yaml",
            lambda p: write_model(text, p, overwrite=True),
            lambda p: equal(p, text.encode()),
        ),
        Writer("`effyolo prune -o`", "m.pt", lambda p: prune(checkpoint, p, overwrite=True), load),
        Writer("`effyolo pack -o`, a zip", "m.zip", lambda p: pack(checkpoint, p, overwrite=True), read),
        Writer("`effyolo pack -o`, a folder", "m/", lambda p: pack(checkpoint, f"{p}/", overwrite=True), read),
        Writer("`effyolo unpack -o`", "m.pt", lambda p: unpack(folder / "m.zip", p, overwrite=True), load),
        Writer("`effyolo draw -o`", "m.png", lambda p: draw(checkpoint, p, overwrite=True), drawn),
    ]


def drawn(path: Path) -> None:
    """Read a picture to its end."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()


def fork(work: Callable[[], object], limit: int = 0) -> int:
    """Start a process that works, and is ended at a byte if there is a limit; return its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        work()
        status = 0
    finally:
        os._exit(status)


def state(path: Path, before: bytes | None, check: Callable[[Path], object]) -> str:
    """Say what is under a name: 'old', 'new' or 'half'."""
    if not path.exists() or (before is not None and path.is_file() and path.read_bytes() == before):
        return "old"
    try:
        check(path)
    except Exception:  # whatever reads it
        return "half"
    return "new"


def kill(writer: Writer, folder: Path, number: int, seed: int) -> dict[str, int]:
    """Kill a writer, by turns at a random moment and at a random byte; return how often what was there then."""
    rng, seen = random.Random(seed), {"old": 0, "new": 0, "half": 0, "left": 0}
    path = folder / "first" / writer.file
    path.parent.mkdir(parents=True)
    began = time.monotonic()
    writer.write(path)
    length = time.monotonic() - began
    files = [file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    for i in range(number):
        path = folder / f"{i}" / writer.file
        path.parent.mkdir(parents=True)
        before = None if writer.file in ("shapes", "m/", "checkpoints/weights.pth") or i % 4 < 2 else OLD
        if before:
            path.write_bytes(before)
        limit = rng.randrange(1, max(file.stat().st_size for file in files)) if i % 2 else 0
        child = fork(lambda path=path: writer.write(path), limit)
        if not limit:
            time.sleep(rng.uniform(0, length))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen[state(path, before, writer.check)] += 1
        seen["left"] += len(list(path.parent.iterdir())) > path.exists()
        if i == number - 1:  # the next try is none the worse for it
            writer.write(path)
            writer.check(path)
        shutil.rmtree(folder / f"{i}")
    return seen


def fill(writer: Writer, folder: Path) -> str:
    """Let a writer meet a full disk; return what it says."""
    path = folder / "disk" / writer.file
    with small_disk(folder / "disk", 500) as resize:
        path.parent.mkdir(exist_ok=True)
        has_old = writer.file not in ("shapes", "m/", "checkpoints/weights.pth")
        if has_old:
            path.write_bytes(OLD)
        before = sorted(os.listdir(path.parent))
        resize(0)
        try:
            writer.write(path)
        except OSError as error:
            said = str(error)
        assert sorted(os.listdir(path.parent)) == before and (not has_old or path.read_bytes() == OLD)
        resize(500)
        writer.write(path)
        writer.check(path)
    return said.replace(str(folder / "disk") + "/", "")


def serve(folder: Path) -> http.server.ThreadingHTTPServer:
    """Serve the files of a folder from this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """Say nothing of a reader that was killed."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing."""


def prepare(folder: Path) -> list[Writer]:
    """Write what the writers read, and return them."""
    torch.set_num_threads(1)  # a forked process has no threads of its parent
    YOLO("yolov5n-effdet.yaml").save(folder / "best.pt")
    pack(folder / "best.pt", folder / "m.zip")
    torch.save({"x": torch.zeros(2**20)}, folder / "weights.pth")
    port = serve(folder).server_address[1]
    return writers(folder, f"http://127.0.0.1:{port}/weights.pth")
