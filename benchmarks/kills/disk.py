"""A small disk in memory, for who may mount one."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def mount(folder: Path, *options: str) -> None:
    """Mount a disk in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Callable[[float], None]]:
    """Mount a small disk; yields a function that gives it another size, 0 for no more room than is used.

    Raises:
        subprocess.CalledProcessError: Where one may not mount.
    """

    def resize(megabytes: float) -> None:
        disk = os.statvfs(folder)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        # A size of 0 would be none.
        mount(folder, "remount", f"size={max(int(megabytes * 2**20), used, 4096)}")

    folder.mkdir()
    mount(folder, f"size={int(megabytes * 2**20)}")
    try:
        yield resize
    finally:
        subprocess.run(["umount", str(folder)], check=True)
