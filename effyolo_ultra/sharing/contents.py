"""The files of a variant, read into memory from a folder or a zip that anybody may have made.

Only files of known names and sizes are read, so there is no path to follow and nothing to extract.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from effyolo_ultra._limits import MAX_BYTES
from effyolo_ultra.errors import SharingError

MODEL, WEIGHTS, METADATA = "model.yaml", "model.safetensors", "variant.json"
CARD, LICENSE, PICTURE = "README.md", "LICENSE", "network.svg"
NEEDED = (METADATA, MODEL, WEIGHTS)

# The most bytes of each file. Each is read into memory.
LIMITS = {
    METADATA: 2**20,  # of 80 classes it has 5 kB
    MODEL: MAX_BYTES,
    WEIGHTS: 2**31 - 1,  # 500 million parameters in float32, five times the largest network of the zoo
    CARD: 2**20,
    LICENSE: 2**20,
    PICTURE: 2**24,  # a large network is drawn in some 200 kB
}
MAX_RATIO = 20  # of a file to its compressed form: weights hardly shrink, text by a factor of 3 to 5
MAX_DIRECTORY = 2**14  # bytes of the list of files at the end of a zip; six files need less than 1 kB
END = struct.Struct("<4s4H2LH")  # of the record at the end of a zip without a comment
CHUNK = 2**20
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest of a zip: the same files give the same bytes


def read(path: Path) -> dict[str, bytes]:
    """Return the files of a variant by name.

    Raises:
        SharingError: If it is none, or has something in it that no variant has.
    """
    if path.is_dir():
        files = read_folder(path)
    elif path.suffix == ".pt":
        raise SharingError(f"'{path}' is a checkpoint, not a shared variant; `effyolo pack` makes one of it")
    elif path.is_file():
        files = read_zip(path)
    else:
        raise FileNotFoundError(f"there is no file or folder '{path}'")
    for name in NEEDED:
        if name not in files:
            raise SharingError(f"'{path}' is no shared variant, or not all of it: {name} is missing")
    return files


@contextmanager
def about(variant: object) -> Iterator[None]:
    """While in this context, an error says which variant it is about."""
    try:
        yield
    except SharingError as error:
        raise SharingError(f"'{variant}': {error}") from error


def check_names(path: Path, names: Iterable[str]) -> None:
    """Refuse what has names that no variant has, or one twice."""
    seen = set()
    for name in names:
        if name not in LIMITS:
            raise SharingError(f"'{path}' holds {name!r}, and a shared variant only {', '.join(LIMITS)}")
        if name in seen:
            raise SharingError(f"'{path}' holds {name} twice")
        seen.add(name)


def check_size(path: object, name: str, size: int) -> None:
    """Refuse a file that is too large."""
    if size > LIMITS[name]:
        raise SharingError(f"'{path}': {name} has {size:,} bytes, and more than {LIMITS[name]:,} are not read")


def read_folder(path: Path) -> dict[str, bytes]:
    """Read a folder; hidden files, such as a clone's .git and .gitattributes, are no part of the variant."""
    entries = sorted((e for e in os.scandir(path) if not e.name.startswith(".")), key=lambda e: e.name)
    check_names(path, [entry.name for entry in entries])
    for entry in entries:
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            raise SharingError(f"'{path}': {entry.name} must be a file, not a link or a folder")
        check_size(path, entry.name, entry.stat().st_size)
    return {entry.name: Path(entry.path).read_bytes() for entry in entries}


def read_zip(path: Path) -> dict[str, bytes]:
    """Read a zip."""
    check_end(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_names(path, [entry.orig_filename for entry in entries])
            for entry in entries:
                check_entry(path, entry)
            return {entry.orig_filename: extract(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise SharingError(f"'{path}' is a damaged zip: {error}") from error


def check_end(path: Path) -> None:
    """Refuse what does not end as a zip of a few files, before the list of its files is read."""
    length = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, length - END.size - 20))
        tail = file.read()
    locator, end = tail[: -END.size], tail[-END.size :]
    signature, *_, directory, _, comment = END.unpack(end) if len(end) == END.size else (b"", 0, 0, 0)
    if signature != b"PK\5\6" or comment:
        raise SharingError(f"'{path}' is no shared variant: neither a folder nor a zip, or a zip that is cut off")
    if directory > MAX_DIRECTORY or locator.startswith(b"PK\6\7"):  # the latter says where a longer list stands
        raise SharingError(f"'{path}' is a zip of more, or larger, files than a shared variant has")


def check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse an entry that is no plain file, or too large once extracted."""
    name = entry.orig_filename
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise SharingError(f"'{path}': {name} must be a file, not a link or a folder")
    if entry.flag_bits & 1:
        raise SharingError(f"'{path}': {name} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SharingError(f"'{path}': {name} is compressed by a method other than deflate")
    check_size(path, name, entry.file_size)
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1024):
        raise SharingError(f"'{path}': {name} is compressed more than {MAX_RATIO} times, as no variant is")


def extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return the bytes of an entry, chunk by chunk, so that no more is expanded than it says it has."""
    with archive.open(entry) as file:
        content = b"".join(iter(lambda: file.read(CHUNK), b""))
    if len(content) != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.orig_filename} is cut off")
    return content


def write_zip(files: Mapping[str, bytes], path: Path) -> None:
    """Write a zip, the same bytes for the same files."""
    with zipfile.ZipFile(path, "w", allowZip64=False) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])


def write_folder(files: Mapping[str, bytes], path: Path) -> None:
    """Write a new folder."""
    path.mkdir()
    for name in sorted(files):
        (path / name).write_bytes(files[name])
