"""Writing so that nothing half-written ever has the final name, and nothing of the user's is replaced unasked."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effyolo_ultra import _output
from effyolo_ultra.sharing.contents import LIMITS


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that is in use, in no folder, or a folder of other files."""
    _output.check_free(path, overwrite)
    if path.is_dir() and not {entry.name for entry in os.scandir(path)} <= set(LIMITS):
        raise FileExistsError(
            f"the folder '{path}' holds other files than those of a shared variant: it is not replaced"
        )


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """Give a name beside `path` to write a file or a folder to, which takes the name `path` when it is complete."""
    check_free(path, overwrite)
    beside = path.absolute().with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    old = beside.with_suffix(".old")
    try:
        yield beside
        check_free(path, overwrite)
        if path.is_dir() or (path.exists() and beside.is_dir()):
            os.replace(path, old)  # a folder with files in it cannot be replaced in one step
        os.replace(beside, path)
    finally:
        for left in (beside, old):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
