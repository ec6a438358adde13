"""Weights in one safetensors file, with all that is needed to use them as JSON in its head."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from voicetone.errors import DataError
from voicetone.training.written import whole

_MOST_BYTES = 4_000_000_000
Made = TypeVar("Made")


def write_weights(
    path: Path, key: str, state: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write tensors, and facts under a key that says what they are; whole or not at all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in state.items()}
    with whole(path) as unfinished:
        save_file(tensors, unfinished, {key: json.dumps(facts)})


def read_weights(
    path: Path, key: str, what: str, make: Callable[[Any, dict[str, Tensor]], Made]
) -> Made:
    """Read what `write_weights` wrote.

    Args:
        path: of the file.
        key: that it was written under.
        what: the file should be weights of, in words.
        make: makes the network of its facts and tensors; whatever errors of types and values it
            raises say that the file is none.

    Raises:
        DataError: no such file, or none of such weights.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"over {_MOST_BYTES / 1e9:g} GB")
        with safe_open(path, "pt") as file:
            facts: Any = json.loads((file.metadata() or {})[key])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return make(facts, state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: no weights of {what} ({error})") from error
