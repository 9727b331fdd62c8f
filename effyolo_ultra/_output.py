"""Writing so that nothing half-written ever has the final name, and nothing of the user's is replaced unasked."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def check_free(path: Path, overwrite: bool, contents: Collection[str] = ()) -> None:
    """Refuse a path that is in use, or in no folder; a folder is only replaced if it holds nothing but `contents`.

    What has no `contents` is a file, and replaces no folder.
    """
    if path.is_dir() and not contents:
        raise FileExistsError(f"'{path}' is a folder; choose another name")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"'{path}' is there already; choose another name, or ask to replace it (overwrite=True, --overwrite)"
        )
    if path.is_dir() and not {entry.name for entry in os.scandir(path)} <= set(contents):
        raise FileExistsError(f"the folder '{path}' holds files of other kinds: it is not replaced")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder '{path.parent}'")


@contextmanager
def replacing(path: Path, overwrite: bool, contents: Collection[str] = ()) -> Iterator[Path]:
    """Give a name beside `path` to write a file or a folder to, which takes the name `path` when it is complete."""
    check_free(path, overwrite, contents)
    # Not the whole of a long name, which a file system would refuse once more is added.
    beside = path.absolute().with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    old = beside.with_suffix(".old")
    try:
        with naming(path):
            yield beside
            check_free(path, overwrite, contents)
            if path.is_dir() or (path.exists() and beside.is_dir()):
                os.replace(path, old)  # a folder with files in it cannot be replaced in one step
            os.replace(beside, path)
    finally:
        if old.exists() and not path.exists():  # the new folder could not take its place
            os.replace(old, path)
        for left in (beside, old):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


def write_checkpoint(save: Callable[[io.BytesIO], Any], path: Path, overwrite: bool) -> None:
    """Write what `save` gives; by way of memory, because torch itself does not say that a disk is full."""
    buffer = io.BytesIO()
    save(buffer)
    with replacing(path, overwrite) as beside:
        beside.write_bytes(buffer.getbuffer())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """While in this context, a disk that is full says for which file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


class WholeFile(type(Path())):
    """A path whose `write_bytes` replaces the file in one step: whatever ends it, the old file is there or the new one.

    Where it cannot be replaced, it is written in place. One process writes it, so what a kill has left beside it is
    replaced by the next writing.
    """

    def write_bytes(self, data: bytes) -> int:
        """Write the file, and return the number of bytes."""
        beside = Path(self).with_name(f".{self.name}.part")
        with naming(self):
            try:
                written = beside.write_bytes(data)
                os.replace(beside, self)
            except PermissionError:  # Windows replaces no file that somebody reads, but lets it be written
                written = Path(self).write_bytes(data)
            finally:
                with suppress(OSError):
                    beside.unlink()
        return written

    def __reduce__(self):
        return Path, (str(self),)  # a checkpoint that names its file is read without this package
