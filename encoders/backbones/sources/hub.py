"""Trained weights by name: from the cache of earlier downloads, or from a hub that is asked once and quickly."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from encoders.backbones.offline import OFFLINE_MODELS

PATIENCE = 3.0  # seconds until a hub counts as out of reach
T = TypeVar("T")


def timm_options(name: str) -> dict[str, Any]:
    """Arguments of ``timm.create_model`` that load the trained weights of `name`: those of the cache where it has them.

    Raises
    ------
    ValueError
        If there are no such weights, or they are not in the cache and the hub is out of reach.
    """
    import huggingface_hub
    import timm

    uri, published = f"timm:{name}", timm.get_pretrained_cfg(name)
    if published is None or not (published.hf_hub_id or published.url):
        raise ValueError(
            f"{uri}: no trained weights are published for this network; expected a name with weights. Fix: name "
            f"another one ({', '.join(timm.list_pretrained(name.split('.')[0] + '*')[:4]) or DEFAULTS}), or pass "
            'weights=FILE or weights="random"'
        )
    if not published.hf_hub_id:
        _ask_unless_there(uri, str(published.url))
        return {}
    repository, _, revision = published.hf_hub_id.partition("@")
    named = published.hf_hub_filename
    files = [named] if named else ["model.safetensors", "pytorch_model.bin"]
    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return {} if published.custom_load else {"pretrained_cfg_overlay": {"file": cached}}
    url = huggingface_hub.hf_hub_url(repository, files[0], revision=revision or None)
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise ValueError(out_of_reach(uri, url, "HF_HUB_OFFLINE is set"))
    _ask(uri, url)
    return {}


def torchvision_ready(name: str, url: str) -> None:
    """Refuse trained weights of torchvision that lie in no cache while their address is out of reach.

    Raises
    ------
    ValueError
    """
    _ask_unless_there(f"torchvision:{name}", url)


def fetched(uri: str, url: str, load: Callable[[], T]) -> T:
    """What `load` gives; its failures are told as the download's.

    Raises
    ------
    ValueError
    """
    try:
        return load()
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # downloads and loaders fail in many ways of their own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise ValueError(out_of_reach(uri, url, reason)) from error


def out_of_reach(uri: str, url: str, reason: str) -> str:
    """The message for trained weights that could not be fetched."""
    return (
        f"{uri}: its trained weights are not on this machine, and could not be fetched ({reason}); expected them in "
        "the cache, or a network. Likely cause: a machine without access to the internet, or a proxy. Fix: fetch "
        f'{url} on another machine, copy the file here and name it: weights=FILE in Python, weights = "FILE" in '
        f"[encoder] of project.toml; or use a network whose weights come with an installed package ({DEFAULTS})"
    )


def _ask_unless_there(uri: str, url: str) -> None:
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file():
        _ask(uri, url)


def _ask(uri: str, url: str) -> None:
    """Ask for the head of `url` once.

    Raises
    ------
    ValueError
        If nobody answers in `PATIENCE` seconds; that of a look-up of the name, which has no timeout of its own, counts.
    """
    failure: list[str] = [f"no answer in {PATIENCE:.0f} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE):
                failure.clear()
        except urllib.error.HTTPError:  # somebody answers; the loader says what is wrong
            failure.clear()
        except (OSError, ValueError) as error:
            failure[:] = [" ".join(str(error).split())[:160]]

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE + 0.5)
    if failure:
        raise ValueError(out_of_reach(uri, url, failure[0]))


DEFAULTS = ", ".join(f"offline:{name}" for name in OFFLINE_MODELS)
