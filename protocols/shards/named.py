"""The engine that a text names: ``slurm:partition=gpu,timeout=2:00:00`` or ``dask://HOST:PORT``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .dask import Dask
from .slurm import Slurm

__all__ = ["engine_named"]

FORMS = "slurm, slurm:key=value,... or dask://HOST:PORT"
PLAIN = re.compile(r"[^\s\x00-\x1f'\"`$\\;|&<>]+")
"""A value that goes into a line of a batch script."""
DEVICE = re.compile(r"cpu|cuda|mps")


def engine_named(text: str) -> Slurm | Dask:
    """What `text` names; nothing is imported or opened.

    Raises
    ------
    ValueError
        The text is malformed.
    """
    if text.startswith("dask:"):
        return _dask(text)
    kind, _, rest = text.partition(":")
    if kind != "slurm":
        raise ValueError(f"{text!r}; expected {FORMS}")
    given = dict[str, str]()
    for part in filter(None, rest.split(",")) if rest else ():
        key, has_value, value = part.partition("=")
        if key not in KEYS or not has_value:
            raise ValueError(f"{part!r} in {text!r}; expected key=value with the keys {', '.join(KEYS)}")
        if key in given:
            raise ValueError(f"{key} twice in {text!r}; expected it once")
        given[key] = value
    if text.endswith((":", ",")):
        raise ValueError(f"{text!r} ends in {text[-1]!r}; expected {FORMS}")
    return _slurm({key: KEYS[key](key, value) for key, value in given.items()})


def _dask(text: str) -> Dask:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} ({error}); expected dask://HOST:PORT") from error
    if not (text.startswith("dask://") and host and port) or parts.path not in ("", "/") or parts.username:
        raise ValueError(f"{text!r}; expected dask://HOST:PORT, such as dask://10.0.0.5:8786")
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    if set(asked) - {"device"} or parts.fragment:
        raise ValueError(f"{text!r}; expected dask://HOST:PORT, or dask://HOST:PORT?device=cuda")
    device = _device("device", asked["device"]) if "device" in asked else None
    return Dask(host, port, device)


def _slurm(given: dict[str, Any]) -> Slurm:
    more: dict[str, Any] = {"requeue": True} if given.pop("requeue", True) else {"no-requeue": True}
    device, python = given.pop("device", None), given.pop("python", None)
    if "reservation" in given:
        more["reservation"] = given.pop("reservation")
    settings: dict[str, Any] = {
        "name": "stimsynth",
        "timeout_min": given.pop("timeout", 60),
        "cpus_per_task": given.pop("cpus", 1),
        "stderr_to_stdout": True,
        "slurm_array_parallelism": given.pop("parallel", 1000),
        "slurm_setup": ["export OMP_NUM_THREADS=1 MPLBACKEND=Agg"],
        "slurm_additional_parameters": more,
    }
    return Slurm(settings | {f"slurm_{key}": value for key, value in given.items()}, device, python)


def minutes(text: str) -> int:
    """Minutes of a time as Slurm writes it: minutes[:seconds], hours:minutes:seconds or days-hours[:minutes[:seconds]].

    Raises
    ------
    ValueError
        It is none, or is zero.
    """
    found = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", text)
    if found is None:
        raise ValueError(f"the time {text!r}; expected minutes, hours:minutes:seconds or days-hours")
    days, *clock = (None if part is None else int(part) for part in found.groups())
    first, second, third = clock
    if days is not None:
        seconds = ((days * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    elif third is not None:
        seconds = ((first or 0) * 60 + (second or 0)) * 60 + third
    else:
        seconds = (first or 0) * 60 + (second or 0)
    if seconds < 1:
        raise ValueError(f"the time {text!r}; expected more than none")
    return -(-seconds // 60)


def _time(_key: str, value: str) -> int:
    return minutes(value)


def _plain(key: str, value: str) -> str:
    if not PLAIN.fullmatch(value):
        raise ValueError(f"{key}={value!r}; expected text without spaces, quotes and signs of the shell")
    return value


def _memory(key: str, value: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,8}[KMGT]?", value):
        raise ValueError(f"{key}={value!r}; expected a number with K, M, G or T, such as 8G")
    return value if value[-1].isalpha() else f"{value}G"


def _count(key: str, value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", value):
        raise ValueError(f"{key}={value!r}; expected a whole number from 1 on")
    return int(value)


def _yes(key: str, value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError(f"{key}={value!r}; expected yes or no")
    return value == "yes"


def _device(key: str, value: str) -> str:
    if not DEVICE.fullmatch(value):
        raise ValueError(f"{key}={value!r}; expected cpu, cuda or mps")
    return value


def _command(key: str, value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{key}={value!r}; expected the command that starts Python on the nodes")
    return value


KEYS: dict[str, Callable[[str, str], Any]] = {
    "partition": _plain,
    "timeout": _time,
    "mem": _memory,
    "cpus": _count,
    "gres": _plain,
    "account": _plain,
    "qos": _plain,
    "constraint": _plain,
    "nodelist": _plain,
    "exclude": _plain,
    "reservation": _plain,
    "parallel": _count,
    "requeue": _yes,
    "device": _device,
    "python": _command,
}
"""What may stand behind ``slurm:``, and what reads each."""
