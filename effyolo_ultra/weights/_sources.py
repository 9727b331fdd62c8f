"""The two kinds of place where timm keeps pretrained weights: a repository of Hugging Face's hub, and a plain URL."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen


class HubFile:
    """Weights in a repository of Hugging Face's hub, in the cache of huggingface_hub.

    Args:
        cfg: A timm PretrainedCfg with `hf_hub_id`.
    """

    def __init__(self, cfg: Any):
        from huggingface_hub import constants

        self.repo, _, revision = cfg.hf_hub_id.partition("@")
        self.revision = revision or None
        # timm's own order: what it loads and what is fetched here is then one file in one cache.
        self.filenames = [cfg.hf_hub_filename] if cfg.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        self.cache = Path(constants.HF_HUB_CACHE)
        self.where = f"{constants.ENDPOINT}/{self.repo} ({' or '.join(self.filenames)})"

    @property
    def by_hand(self) -> str:
        """How the cache is filled without a network."""
        revision = f" --revision {self.revision}" if self.revision else ""
        return (
            f"run `hf download {self.repo} {self.filenames[0]}{revision}` (`huggingface-cli download` before"
            f" huggingface_hub 0.34) on another machine, and copy models--{self.repo.replace('/', '--')} from its cache"
            f" to {self.cache}, or set HF_HOME to a copy of its Hugging Face folder"
        )

    def cached(self) -> Path | None:
        """Return the file in the cache, without any request."""
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(self.repo, name, revision=self.revision) for name in self.filenames)
        # A file known not to exist is a sentinel object, not None.
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def ask(self, timeout_s: float) -> str:
        """Return the name of the file that the repository has."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        for name in self.filenames:
            try:
                get_hf_file_metadata(hf_hub_url(self.repo, name, revision=self.revision), timeout=timeout_s)
                return name
            except Exception as error:
                if http_status(error) != 404 or name == self.filenames[-1]:
                    raise

    def download(self, name: str) -> Path:
        """Download the file that `ask` named into the cache."""
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.repo, name, revision=self.revision))


class UrlFile:
    """Weights at a plain URL, in the cache of torch.hub.

    Args:
        url: The address, whose last part is the file's name in the cache.
    """

    def __init__(self, url: str):
        import torch

        self.where = url
        self.cache = Path(torch.hub.get_dir(), "checkpoints")
        self.path = self.cache / PurePosixPath(urlsplit(url).path).name

    @property
    def by_hand(self) -> str:
        """How the cache is filled without a network."""
        return f"download {self.where} on another machine and copy it to {self.path}"

    def cached(self) -> Path | None:
        """Return the file in the cache, without any request."""
        return self.path if self.path.is_file() else None

    def ask(self, timeout_s: float) -> int | None:
        """Return the size of the file in bytes, if the server states it."""
        with urlopen(self.where, timeout=timeout_s) as answer:
            size = answer.headers["Content-Length"]
        return int(size) if size else None

    def download(self, size: int | None) -> Path:
        """Download the file, which must have the size that `ask` returned, into the cache."""
        import torch

        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache) as folder:
            part = Path(folder, self.path.name)
            torch.hub.download_url_to_file(self.where, str(part))
            # torch takes a connection that breaks off for the end of the file.
            if size is not None and part.stat().st_size != size:
                raise ConnectionError(f"the download broke off after {part.stat().st_size} of {size} bytes")
            part.replace(self.path)
        return self.path


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of huggingface_hub or urllib stands for, None if no server answered."""
    return getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None))


def is_of_this_machine(error: BaseException) -> bool:
    """Whether an error is of a file here, such as a full disk: it says itself what is wrong."""
    of_network = isinstance(error, (ConnectionError, TimeoutError))
    return isinstance(error, OSError) and bool(error.errno) and not of_network
