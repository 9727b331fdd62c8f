"""A folder that appears complete or not at all, whatever ends the process, and however many make it at once."""

from __future__ import annotations

import logging
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from effyolo_ultra._output import naming

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

LOGGER = logging.getLogger(__name__)
SUFFIX = ".making"
BUSY = PermissionError if fcntl is None else BlockingIOError  # what a lock that another one holds raises


def _hold(descriptor: int) -> None:
    """Lock an open file without waiting; `BUSY` if another one holds it. The lock ends with the process."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def only_one(lock: Path) -> Iterator[bool]:
    """Wait until no other process or thread is within this block for the same lock file.

    Yields:
        True, or False at once where the file system has no locks.
    """
    warn_at = time.monotonic() + 10
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _hold(descriptor)
            if _is_file(descriptor, lock):  # else its former holder has removed it meanwhile
                held = True
                break
        except BUSY:
            pass
        except OSError:  # no locks here
            held = False
            break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > warn_at:
            LOGGER.warning("waiting for the process that holds %s", lock)
            warn_at = float("inf")
        time.sleep(0.05)
    try:
        yield held
    finally:
        if fcntl is not None:  # removed while it is held, so that nobody else can hold the same name
            with suppress(OSError):
                os.unlink(lock)
        os.close(descriptor)
        if fcntl is None:  # Windows cannot remove an open file; whoever waits has it open and removes it later
            with suppress(OSError):
                os.unlink(lock)


def _prefix(target: Path) -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", platform.node())[:32]
    return f".{target.name}.{host}."


def remove_leftovers(target: Path, contents: set[str]) -> None:
    """Remove what a killed process of this machine has left of `new_folder(target)`; call it within `only_one`.

    A folder that holds anything but `contents` is somebody else's, and stays.
    """
    for folder in list(target.parent.iterdir()):
        if folder.name.startswith(_prefix(target)) and folder.name.endswith(SUFFIX) and not folder.is_symlink():
            if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= contents:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` to write into, which is renamed to it if the block ends well, else removed.

    Raises:
        OSError: When `target` has come into being meanwhile and is not an empty folder.
    """
    folder = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}{SUFFIX}")
    try:
        folder.mkdir()
        with naming(target):
            yield folder
            with suppress(OSError):
                target.rmdir()  # only an empty folder: Windows does not rename onto it
            os.rename(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
