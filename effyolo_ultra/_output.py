"""Looking at a path before the work whose result is to be written there."""

from __future__ import annotations

from pathlib import Path


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that is in use, or in no folder."""
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"'{path}' is there already; choose another name, or ask to replace it (overwrite=True, --overwrite)"
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder '{path.parent}'")
