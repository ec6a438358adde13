"""Weights of tone networks on disk, and networks from weights that may come from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicetone.errors import DataError
from voicetone.models.tone import ToneConfig, ToneNet
from voicetone.pretrained.spec import MAX_FILE_BYTES, MAX_WIDTH
from voicetone.training.written import whole

Array = NDArray[np.float32]
MOST_BLOCKS = 64
_VERSION = "1"


def require_sane(config: ToneConfig) -> None:
    """That a network can have these sizes.

    Raises:
        ValueError: it can't.
    """
    above = config.conformer
    if above is not None:
        counts = [above.inputs, above.width, above.layers, above.heads, above.expand]
        if not all(1 <= n <= MAX_WIDTH for n in [*counts, above.kernel, above.past]):
            raise ValueError("a size of the Conformer out of range")
        if above.layers > MOST_BLOCKS or above.width % above.heads or above.kernel < 2:
            raise ValueError("sizes of the Conformer that don't go together")
        if above.inputs != config.width:
            raise ValueError("a Conformer for another front end")
    sizes = [*config.stem, config.width, config.expand, config.kernel, *config.dilations]
    sizes += [config.heads, config.hidden, config.sentiments, config.emotions, config.mels]
    if not all(1 <= size <= MAX_WIDTH for size in sizes) or not 0 <= config.lags <= MAX_WIDTH:
        raise ValueError("a size out of range")
    if len(config.dilations) > MOST_BLOCKS or not config.dilations or config.kernel < 2:
        raise ValueError("not 1 to 64 blocks with a past")
    if config.mels % 4 or config.frame % config.heads or config.state_size > MAX_WIDTH:
        raise ValueError("sizes that don't go together")


def filled(config: ToneConfig, state: Mapping[str, Array]) -> ToneNet:
    """A network with these weights, in evaluation mode.

    Nothing is made before every shape is known to fit.

    Raises:
        ValueError: a weight that lacks, is too much, has another shape or holds no numbers.
    """
    with torch.device("meta"):
        wanted = ToneNet(config).state_dict()
    counts = {name for name in wanted if name.endswith("num_batches_tracked")}
    if odd := (set(state) ^ set(wanted)) - counts:
        raise ValueError(f"{min(odd)} is too much or lacks")
    for name, value in state.items():
        if tuple(value.shape) != tuple(wanted[name].shape):
            raise ValueError(f"{name} has the shape {list(value.shape)}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds no numbers")
    net = ToneNet(config)
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    net.load_state_dict(tensors, strict=False)
    return net.eval()


def write_weights(path: Path, net: ToneNet, emotions: Sequence[str]) -> None:
    """Keep a trained network as safetensors, whole or not at all.

    Args:
        path: of the file; its folder is made if missing.
        net: the network.
        emotions: the labels in the order of its outputs.
    """
    from safetensors.torch import save_file

    facts = {"version": _VERSION, "config": asdict(net.config), "emotions": list(emotions)}
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    with whole(path) as unfinished:
        save_file(state, unfinished, {"tone": json.dumps(facts)})


def read_weights(path: Path) -> tuple[ToneNet, tuple[str, ...]]:
    """What `write_weights` kept: the network in evaluation mode, and its emotions.

    Raises:
        DataError: no such file, or none of a tone network.
    """
    from pydantic import TypeAdapter
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("larger than a network of this kind can be")
        with safe_open(path, "pt") as file:
            facts: Any = json.loads((file.metadata() or {})["tone"])
            state: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = TypeAdapter(ToneConfig).validate_python(facts["config"])
        emotions = tuple(str(word) for word in facts["emotions"])
        require_sane(config)
        if len(emotions) != config.emotions:
            raise ValueError("another number of emotions than outputs")
        net = filled(config, {name: value.numpy() for name, value in state.items()})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: no weights of a tone network ({why}); delete the file and train again"
        ) from error
    return net, emotions
