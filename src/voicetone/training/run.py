"""`voicetone train`: a recipe becomes a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voicetone.errors import DataError, MissingExtraError
from voicetone.training.recipe import dataclass_from, read_recipe

KINDS = (
    "aae",
    "classifier",
    "fusion",
    "gmm-aae",
    "pretrain",
    "speaker-aware",
    "tone",
    "voice-tone",
)


def train(recipe: Path, overrides: Sequence[str] = ()) -> Path:
    """Run a recipe, or go on with its run where it stopped.

    Args:
        recipe: a TOML file; its `kind` says which trainer it is for.
        overrides: `key=value` words.

    Returns:
        The run's folder.

    Raises:
        DataError: a recipe that can't be read or is of no known kind, or data that it needs.
        UsageError: an override that the recipe does not take.
        MissingExtraError: training is not installed.
    """
    data = read_recipe(recipe, overrides)
    kind = data.get("kind")
    if kind not in KINDS:
        raise DataError(f"{recipe}: kind = {kind!r} is unknown; known are: {', '.join(KINDS)}")
    name = data.get("name")
    if isinstance(name, str) and (not name or name in (".", "..") or set(name) & set("/\\")):
        raise DataError(f"{recipe}: name = {name!r} can't name a folder; leave / and \\ out of it")
    if kind == "classifier":
        return _classifier(data, recipe, overrides)
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training", "data,report,train") from error
    if kind == "aae":
        from voicetone.training.aae_recipe import AaeRecipe
        from voicetone.training.aae_run import run_aae

        return run_aae(dataclass_from(AaeRecipe, data, recipe, overrides))
    if kind == "gmm-aae":
        from voicetone.training.gmm_recipe import CodesRecipe
        from voicetone.training.gmm_run import run_codes

        return run_codes(dataclass_from(CodesRecipe, data, recipe, overrides))
    if kind == "speaker-aware":
        from voicetone.training.speaker_recipe import SpeakerRecipe
        from voicetone.training.speaker_run import run_speakers

        return run_speakers(dataclass_from(SpeakerRecipe, data, recipe, overrides))
    if kind == "fusion":
        from voicetone.training.fusion_recipe import FusionRecipe
        from voicetone.training.fusion_run import run_fusion

        return run_fusion(dataclass_from(FusionRecipe, data, recipe, overrides))
    if kind == "pretrain":
        from voicetone.training.pretrain_recipe import PretrainRecipe
        from voicetone.training.pretrain_run import run_pretrain

        return run_pretrain(dataclass_from(PretrainRecipe, data, recipe, overrides))
    from voicetone.training.tone_recipe import ToneRecipe
    from voicetone.training.tone_ship import run_tone
    from voicetone.training.voice_recipe import VoiceRecipe

    one = VoiceRecipe if kind == "voice-tone" else ToneRecipe
    return run_tone(dataclass_from(one, data, recipe, overrides))


def _classifier(data: dict[str, Any], recipe: Path, overrides: Sequence[str]) -> Path:
    from voicetone.training.classifier_recipe import ClassifierRecipe

    settings = dataclass_from(ClassifierRecipe, data, recipe, overrides)
    try:
        import pyarrow  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training", "data,report,train") from error
    from voicetone.training.classifier_run import run_classifier

    return run_classifier(settings)
