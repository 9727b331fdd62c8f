"""A variant to and from the Hugging Face Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from effyolo_ultra.errors import SharingError
from effyolo_ultra.sharing.contents import LIMITS, NEEDED, check_size, read, write_folder
from effyolo_ultra.sharing.output import replacing
from effyolo_ultra.weights._sources import http_status


def push(
    variant: str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    overwrite: bool = False,
) -> str:
    """Send a variant to a repository of the Hub, as one commit.

    Args:
        variant: A zip or folder that `pack` has written, or a checkpoint, which is packed first.
        repo: The repository, 'user/name'; it is made if there is none.
        private: Whether to make it private.
        token: A token with the right to write, by default the one of `hf auth login` or HF_TOKEN.
        overwrite: Whether to commit on top of a variant that is there already.

    Returns:
        The address of the repository.

    Raises:
        SharingError: If it is no variant that can be unpacked, or the Hub does not take it; the message says why.
        FileExistsError: If the repository holds a variant and `overwrite` is not set.
    """
    from huggingface_hub import HfApi

    check_repo(repo)
    files = files_to_push(Path(variant), repo)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder, said("push to", repo):
        write_folder(files, Path(folder) / "variant")
        address = api.create_repo(repo, private=private, exist_ok=True)
        there = LIMITS.keys() & set(api.list_repo_files(repo))
        if there and not overwrite:
            raise FileExistsError(
                f"{repo} on the Hub holds {', '.join(sorted(there))} already; choose another repository, or ask to commit"
                " on top of it (overwrite=True, --overwrite)"
            )
        api.upload_folder(
            repo_id=repo,
            folder_path=Path(folder) / "variant",
            commit_message="Variant packed by effyolo",
            delete_patterns=sorted(there - files.keys()) or None,
        )
    return str(address)


def pull(
    repo: str,
    output: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Fetch a variant from a repository of the Hub, and write its checkpoint as `unpack` does.

    Args:
        repo: The repository, 'user/name'.
        output: The checkpoint to write, by default 'name.pt'.
        revision: A branch, a tag or a commit; by default the newest commit.
        token: A token for a private repository, by default the one of `hf auth login` or HF_TOKEN.
        overwrite: Whether to replace a file that is there.

    Returns:
        The path of the checkpoint.

    Raises:
        SharingError: If the Hub does not give it, or what it gives is refused; the message says why.
        FileExistsError: If the output is there and `overwrite` is not set.
    """
    from huggingface_hub import HfApi

    check_repo(repo)
    from effyolo_ultra.sharing.unpack import check_output, network_of, save

    output = check_output(output or f"{repo.partition('/')[2]}.pt", overwrite)
    api = HfApi(token=token)
    with replacing(output.with_name(f"{output.name}.download"), False) as folder:
        with said("pull", repo):
            info = api.model_info(repo, revision=revision, files_metadata=True)
            check_repo_files(repo, {file.rfilename: file.size for file in info.siblings or ()})
            snapshot = api.snapshot_download(repo, revision=info.sha, cache_dir=folder, allow_patterns=sorted(LIMITS))
        ...
    return output


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise SharingError(f"{repo!r} is no repository of the Hub: {error}") from error
    if repo.count("/") != 1:
        raise SharingError(f"a repository of the Hub is named 'user/name', not {repo!r}")
