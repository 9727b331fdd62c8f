"""The file with a timm model's pretrained weights, from the cache that timm uses or from the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

from effyolo_ultra._output import naming
from effyolo_ultra.errors import WeightsError, WeightsUnreachableError, nearest
from effyolo_ultra.weights._sources import HubFile, UrlFile, http_status, is_of_this_machine

T = TypeVar("T")

DEADLINE_S = 8  # for a server to answer at all; a download may then take as long as it needs


def fetch(model_name: str) -> Path:
    """Return the file with a timm model's pretrained weights, after downloading it if it is not in the cache.

    The cache is the one that timm itself uses: huggingface_hub's, or torch.hub's for the few models which are not on
    the hub. A file that is in it is returned without any request.

    Args:
        model_name: Name of a timm model; without a tag, timm's default one is taken.

    Raises:
        WeightsUnreachableError: If no server gives the file now, or HF_HUB_OFFLINE forbids to ask.
        WeightsError: If there is no such file, or only timm's own loader can read it.
    """
    source = _source(model_name)
    path = source.cached()
    if path is not None:
        return path
    try:
        answer = _answer(source.ask)
        with naming(source.cache):
            return source.download(answer)
    except Exception as error:
        if is_of_this_machine(error):
            raise
        raise _not_fetched(model_name, source, error) from error


def cached(model_name: str) -> Path | None:
    """Return the file with a timm model's pretrained weights if it is in the cache, without any request.

    Raises:
        WeightsError: If there is no such file, or only timm's own loader can read it.
    """
    return _source(model_name).cached()


def ask(model_name: str) -> str:
    """Ask the server whether it has a timm model's pretrained weights, and return where they are.

    Raises:
        WeightsUnreachableError: If no server answers now, or HF_HUB_OFFLINE forbids to ask.
        WeightsError: If there is no such file.
    """
    source = _source(model_name)
    try:
        _answer(source.ask)
    except Exception as error:
        raise _not_fetched(model_name, source, error) from error
    return source.where


def _source(model_name: str) -> HubFile | UrlFile:
    cfg = _pretrained_cfg(model_name)
    return HubFile(cfg) if cfg.hf_hub_id else UrlFile(cfg.url)


def _pretrained_cfg(model_name: str) -> Any:
    import timm

    if not timm.is_model_pretrained(model_name):
        architecture = model_name.partition(".")[0]
        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        near = nearest(architecture, (name.partition(".")[0] for name in timm.list_pretrained()))
        others = f" It has them for {', '.join(tags)}." if tags else near
        raise WeightsError(
            f"timm {timm.__version__} has no pretrained weights for {model_name}.{others}\n{_ways_out()}"
        )
    cfg = timm.get_pretrained_cfg(model_name)
    # timm calls the model's own loader for a file from a URL. On the hub the weights of such a model are ordinary ones,
    # unless the mark is "hf".
    if cfg.custom_load == "hf" or (cfg.custom_load and not cfg.hf_hub_id):
        raise WeightsError(
            f"The pretrained weights of {model_name} are in a format that only timm's own loader reads.\n{_ways_out()}"
        )
    return cfg


def _answer(ask: Callable[[float], T]) -> T:
    """Return what `ask` returns before the deadline, which holds for a name look-up and for retries too."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set, so nothing was asked; unset it to download")
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask(DEADLINE_S))
        except Exception as error:
            answer.set_exception(error)

    # Not an executor's thread: Python would wait for that one at its exit.
    threading.Thread(target=run, daemon=True).start()
    if not wait([answer], DEADLINE_S).done:
        raise TimeoutError(f"no answer within {DEADLINE_S} s")
    return answer.result()


def _not_fetched(model_name: str, source: HubFile | UrlFile, error: Exception) -> WeightsError:
    refused = http_status(error) in (401, 403, 404)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    message = (
        f"The pretrained weights of {model_name} are not in {source.cache}, and"
        f" {'the server does not give them' if refused else 'cannot be downloaded now'}.\n"
        f"Source: {source.where}\n"
        f"  {reason}\n"
    )
    if refused:
        return WeightsError(message + _ways_out())
    return WeightsUnreachableError(message + _ways_out("connect this machine and run again", source.by_hand))


def _ways_out(*first: str) -> str:
    ways = [
        *first,
        "copy a file with weights of this model to this machine and write its path, `pretrained: <path>`",
        "begin with random weights, `pretrained: false`",
    ]
    return "What you can do:\n" + "\n".join(f"  - {way}" for way in ways)
