"""A variant to and from the Hugging Face Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from effyolo_ultra._output import naming
from effyolo_ultra.errors import EffYoloError, SharingError
from effyolo_ultra.sharing.contents import LIMITS, NEEDED, about, check_size, read, write_folder
from effyolo_ultra.weights._sources import http_status, is_of_this_machine


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
    with tempfile.TemporaryDirectory() as folder, said("push", repo):
        write_folder(files, Path(folder) / "variant")
        address = api.create_repo(repo, private=private, exist_ok=True)
        there = LIMITS.keys() & set(api.list_repo_files(repo))
        if there and not overwrite:
            raise FileExistsError(
                f"{repo} on the Hub holds {', '.join(sorted(there))} already; choose another repository, or ask to"
                " commit on top of it (overwrite=True, --overwrite)"
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

    from effyolo_ultra.sharing.unpack import check_output, network_of, save

    check_repo(repo)
    output = check_output(output or f"{repo.partition('/')[2]}.pt", overwrite)
    api = HfApi(token=token)
    # Beside the output, where there is room for it, and gone when this ends; nothing of it is under the final name.
    beside = tempfile.TemporaryDirectory(suffix=".part", prefix=f".{output.name}.", dir=output.absolute().parent)
    with naming(output), beside as folder:
        with said("pull", repo, revision):
            info = api.model_info(repo, revision=revision, files_metadata=True)
            check_there(repo, {file.rfilename: file.size or 0 for file in info.siblings or ()})
            snapshot = api.snapshot_download(repo, revision=info.sha, cache_dir=folder, allow_patterns=sorted(LIMITS))
        files = {path.name: path.read_bytes() for path in Path(snapshot).iterdir() if path.name in LIMITS}
    with about(repo):
        network, metadata = network_of(files, repo)
    save(network, metadata, output, overwrite)
    return output


def files_to_push(variant: Path, repo: str) -> dict[str, bytes]:
    """Return the files of a variant that can be unpacked."""
    from effyolo_ultra.sharing.pack import pack_files
    from effyolo_ultra.sharing.unpack import network_of

    if variant.suffix == ".pt":
        return pack_files(variant, repo.partition("/")[2])
    files = read(variant)
    with about(variant):
        network_of(files)
    return files


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise SharingError(f"{repo!r} is no repository of the Hub: {error}") from error
    if repo.count("/") != 1:
        raise SharingError(f"a repository of the Hub is named 'user/name', not {repo!r}")


def check_there(repo: str, sizes: Mapping[str, int]) -> None:
    """Refuse a repository without a variant, or with a file that is too large, before anything is downloaded."""
    for name in NEEDED:
        if name not in sizes:
            raise SharingError(f"{repo} on the Hub is no shared variant: it has no {name}")
    for name in LIMITS.keys() & sizes.keys():
        check_size(repo, name, sizes[name])


@contextmanager
def said(action: str, repo: str, revision: str | None = None) -> Iterator[None]:
    """While in this context, what the Hub or the network refuses is an error that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except (EffYoloError, FileExistsError):
        raise
    except Exception as error:
        if is_of_this_machine(error):
            raise
        status = next((s for e in chain(error) if (s := http_status(e))), None)
        login = "log in with `hf auth login`, set HF_TOKEN, or give a token (token=, --token)"
        if isinstance(error, RevisionNotFoundError):
            reason = f"it has no revision {revision!r}"
        elif isinstance(error, GatedRepoError):
            reason = f"its owner must let you first: ask on {constants.ENDPOINT}/{repo}, then {login}"
        elif status == 403:
            reason = f"this token has no permission; {login} that has"
        elif status == 401 and action == "push":
            reason = f"the Hub does not know who you are; {login} with the right to write"
        elif status == 401 or isinstance(error, RepositoryNotFoundError):
            reason = f"there is no such repository, or it is private: look at the name, or {login}"
        elif constants.HF_HUB_OFFLINE:
            reason = "HF_HUB_OFFLINE is set, so nothing was asked; unset it"
        elif status:
            reason = f"the Hub answered with status {status}; try again later"
        else:
            reason = f"{constants.ENDPOINT} cannot be reached from here; connect this machine and try again"
        said_by_hub = " ".join(f"{type(error).__name__}: {error}".split())
        raise SharingError(f"cannot {action} {repo}: {reason}\n  {said_by_hub}") from error


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
