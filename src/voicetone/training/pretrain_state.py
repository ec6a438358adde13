"""Files of the pretraining: the front end, and the state from which a killed training goes on.

Both are safetensors with a line of JSON: no code runs when they are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.models.front import Front, FrontConfig
from voicetone.training.front_recipe import FrontSizes, front_config
from voicetone.training.written import whole

_VERSION = "1"
_LARGEST = 2 * 1024**3  # bytes of a front end's file
_MEANT = ("exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight, beside its step


def save_front(front: Front, path: Path) -> None:
    """Write a front end with its sizes, whole or not at all."""
    facts = json.dumps({"version": _VERSION, "config": asdict(front.config)})
    _write(path, {k: v.detach().cpu() for k, v in front.state_dict().items()}, {"front": facts})


def load_front(path: Path) -> Front:
    """The front end that `save_front` wrote, in evaluation mode, without gradients.

    Raises:
        DataError: no such file, or none of a front end within the sizes that there can be.
    """
    from safetensors import SafetensorError

    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("larger than any front end")
        facts, tensors = _read(path, "front")
        front = Front(_bounded(facts["config"]))
        front.load_state_dict(tensors)
        if not all(bool(t.isfinite().all()) for t in tensors.values()):
            raise ValueError("weights that are no numbers")
        if not bool((front.scale > 0).all()):
            raise ValueError("a normalisation that is none")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: no weights of a front end ({reason}); delete it and train again"
        ) from error
    return front.eval().requires_grad_(False)


def _bounded(config: Any) -> FrontConfig:
    """Sizes from a file, within the bounds of a recipe.

    Raises:
        ValueError: they are not.
    """
    sizes = dict(config)
    spectral = SpectralConfig()
    if (sizes.pop("mels"), sizes.pop("lags")) != (spectral.mels, spectral.lags):
        raise ValueError("of other features than these")
    return front_config(TypeAdapter(FrontSizes).validate_python(sizes), spectral)


def save_state(
    path: Path,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    losses: list[float],
    told: str,
) -> None:
    """Keep a training: weights, moments and losses, whole or not at all.

    Args:
        path: the file.
        net: in training.
        optimiser: AdamW over its weights.
        schedule: of its rate.
        losses: one per step so far.
        told: what the training is, for `load_state` to compare.
    """
    tensors = {f"net.{k}": v.detach().cpu() for k, v in net.state_dict().items()}
    for index, kept in optimiser.state_dict()["state"].items():
        tensors |= {f"moment.{index}.{name}": kept[name].detach().cpu() for name in _MEANT}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    _write(path, tensors, {"pretraining": json.dumps({"version": _VERSION, "told": told})})


def load_state(
    path: Path,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    told: str,
) -> list[float]:
    """Go on from what `save_state` kept, if there is anything.

    Returns:
        The losses of the steps that are done.

    Raises:
        DataError: the state of another training, or a damaged one.
    """
    from safetensors import SafetensorError

    if not path.exists():
        return []
    try:
        facts, tensors = _read(path, "pretraining")
        if facts["told"] != told:
            raise ValueError("of another training")
        losses: list[float] = tensors["losses"].tolist()
        part = {k[4:]: v for k, v in tensors.items() if k.startswith("net.")}
        net.load_state_dict(part)
        there = optimiser.state_dict()
        there["state"] = {
            index: {
                "step": torch.tensor(float(len(losses))),
                **{name: tensors[f"moment.{index}.{name}"] for name in _MEANT},
            }
            for index in range(len(there["param_groups"][0]["params"]))
        }
        optimiser.load_state_dict(there)
        _wind(schedule, len(losses))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: this training can't go on from it ({reason}); delete the file to start again"
        ) from error
    return losses


def _wind(schedule: torch.optim.lr_scheduler.OneCycleLR, steps: int) -> None:
    """Set rate and momentum to what they are after so many steps."""
    if steps:
        schedule.last_epoch, schedule._step_count = steps - 1, steps + 1
        schedule.step()


def _write(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str]) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        save_file({k: v.contiguous() for k, v in tensors.items()}, unfinished, facts)


def _read(path: Path, key: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts under `key` and all tensors."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        facts: Any = json.loads((file.metadata() or {})[key])
        return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
