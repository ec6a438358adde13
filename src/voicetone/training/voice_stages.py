"""The stages before the tone: a pretrained front end, and a recogniser's encoder on it.

As published for Amazon's voice tone analysis: the front end learns from audio alone and is held
fixed; an encoder on it learns to give `<sentiment> transcript`; both are held fixed while a light
classifier learns the tone. Each fold has stages of its own, which hear nothing of the speakers that
the fold tests or validates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.language.tokens import FIRST, Tokens, load_tokens, normalised
from voicetone.models.asr_search import SearchSettings
from voicetone.models.asr_tone import AsrTone
from voicetone.models.front import Front, FrontConfig
from voicetone.models.tone import ToneNet
from voicetone.training.asr_data import (
    AsrExamples,
    Summary,
    asr_examples,
    outside_lines,
    tokens_of,
)
from voicetone.training.asr_fit import asr_config, decode_clips, fit_asr, load_asr, save_asr
from voicetone.training.asr_scores import sentiment_tokens
from voicetone.training.front_recipe import front_config
from voicetone.training.pretrain_fit import pretrain
from voicetone.training.pretrain_state import load_front, save_front
from voicetone.training.tone_batches import Labels
from voicetone.training.tone_data import ClipStore, normalisation
from voicetone.training.tone_fit import fit_net, tone_config
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_weights import require_sane
from voicetone.training.voice_recipe import VoiceRecipe
from voicetone.training.voice_speech import Speech, parts_of, withheld
from voicetone.training.written import as_json, whole, write_text
from voicetone.types import SENTIMENTS

Rows = NDArray[np.int64]
Count = Callable[[int, float], None]
"""Told the number and the loss of each step of a stage."""


@dataclass(frozen=True)
class Learnt:
    """What the stages of one fold gave."""

    front: Front
    asr: AsrTone | None


def learn(
    recipe: VoiceRecipe,
    speech: Speech,
    store: ClipStore,
    index: int | None,
    folder: Path,
    seed: int,
    count: Count,
    device: torch.device,
) -> Learnt:
    """Train the stages of a fold, or read those that the folder has.

    Args:
        recipe: the settings.
        speech: what is learnt from.
        store: clips in the order of `speech`.
        index: of the fold; None for the final model.
        folder: of this fold's stages; made if missing.
        seed: of everything that is drawn.
        count: told of each step.
        device: where to.

    Raises:
        DataError: nothing to learn from, or a training that diverged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = parts_of(recipe, speech, index)
    front = _front(recipe, store, part, folder, seed, count, device)
    if recipe.stages.asr is None:
        return Learnt(front, None)
    path = folder / "asr.safetensors"
    if not path.exists():
        _recogniser(recipe, speech, store, part, front, folder, seed, count, device)
    net = load_asr(path)
    if not (folder / "words.parquet").exists():
        tokens = load_tokens(folder / "tokens.json")
        unseen = withheld(recipe, speech.utterances, index)
        write_words(folder, decoded(recipe, speech, store, part, unseen, net, tokens))
    # Its own front end: with train_front it is no longer the one that it started from.
    return Learnt(net.front, net)


def _recogniser(
    recipe: VoiceRecipe,
    speech: Speech,
    store: ClipStore,
    part: NDArray[np.str_],
    front: Front,
    folder: Path,
    seed: int,
    count: Count,
    device: torch.device,
) -> None:
    """Train the recogniser of a fold; its weights are written last, when all else is there."""
    settings = recipe.stages.asr
    assert settings is not None
    examples, summary = examples_of(recipe, speech, store, part)
    train, validation = np.flatnonzero(part == "train"), np.flatnonzero(part == "validation")
    tokens = tokens_of(examples, train, settings)
    notes: list[str] = list(summary.lines)
    net = fit_asr(
        *(front, settings, tokens, store, examples, train, validation, seed, count),
        device=device,
        notes=notes,
    )
    tested = np.flatnonzero(~np.isin(part, ("", "train")))
    notes += outside_lines(examples, tokens, tested, "clips that are not learnt from")
    tokens.save(folder / "tokens.json")
    write_text(folder / "asr.json", as_json({"notes": notes}))
    save_asr(folder / "asr.safetensors", net)


def _front(
    recipe: VoiceRecipe,
    store: ClipStore,
    part: NDArray[np.str_],
    folder: Path,
    seed: int,
    count: Count,
    device: torch.device,
) -> Front:
    """The front end of a fold: pretrained, or as drawn."""
    path, settings = folder / "front.safetensors", recipe.stages.pretrain
    if path.exists():
        return load_front(path)
    train, validation = np.flatnonzero(part == "train"), np.flatnonzero(part == "validation")
    config = front_config(recipe.network, SpectralConfig())
    if settings is None:
        return untrained(config, store, train, seed)
    front, metrics = pretrain(
        *(config, settings, store, train, validation, seed, count, device),
        state=folder / "pretraining.safetensors",
    )
    write_text(folder / "pretrain.json", as_json(metrics))
    save_front(front, path)
    (folder / "pretraining.safetensors").unlink(missing_ok=True)
    return front


def untrained(config: FrontConfig, store: ClipStore, train: Rows, seed: int) -> Front:
    """A front end with drawn weights, normalised for the training clips."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        front = Front(config)
    front.normalise(*normalisation(store, train))
    return front.eval()


def examples_of(
    recipe: VoiceRecipe, speech: Speech, store: ClipStore, part: NDArray[np.str_]
) -> tuple[AsrExamples, Summary]:
    """Transcripts and sentiments of all utterances; those that train or validate are checked
    against their audio, by what is usual among them, and the others are not kept."""
    settings, heard = recipe.stages.asr, speech.utterances
    assert settings is not None
    rows = np.flatnonzero(np.isin(part, ("train", "validation")))
    learnt = [heard[row] for row in rows]
    found, summary = asr_examples(
        [u.transcript for u in learnt],
        [u.language for u in learnt],
        [u.sentiment for u in learnt],
        store.lengths[rows, 0] // 2,
        settings,
        corpora=[u.corpus for u in learnt],
        names=[u.id for u in learnt],
    )
    kept = np.zeros(len(heard), dtype=bool)
    kept[rows] = found.kept
    all_of_them = AsrExamples(
        tuple(normalised(u.transcript or "") for u in heard),
        sentiment_tokens([u.sentiment for u in heard]),
        np.array([u.corpus for u in heard], dtype=np.str_),
        kept,
    )
    return all_of_them, summary


def decoded(
    recipe: VoiceRecipe,
    speech: Speech,
    store: ClipStore,
    part: NDArray[np.str_],
    unseen: NDArray[np.bool_],
    net: AsrTone,
    tokens: Tokens,
) -> dict[str, list[Any]]:
    """What a recogniser hears in all clips that it did not learn from, by column."""
    rows = [int(r) for r in np.flatnonzero(~np.isin(part, ("", "train")))]
    stages = recipe.stages
    settings = SearchSettings(beam=stages.beam, ctc_share=stages.beam_ctc)
    heard = decode_clips(net, tokens, [store.clip(row, 0) for row in rows], settings)
    utterances = [speech.utterances[row] for row in rows]
    columns: dict[str, list[Any]] = {
        "id": [u.id for u in utterances],
        "corpus": [u.corpus for u in utterances],
        "speaker": [u.speaker for u in utterances],
        "part": [str(part[row]) for row in rows],
        "truth": [normalised(u.transcript or "") for u in utterances],
        "heard": [d.text for d in heard],
        "heard_ctc": [d.ctc_text for d in heard],
        "sentiment": [u.sentiment for u in utterances],
        "unseen_sentence": [bool(unseen[row]) for row in rows],
    }
    for k, name in enumerate(SENTIMENTS):
        columns[name] = [None if d.sentiment is None else d.sentiment[k] for d in heard]
    return columns


def write_words(folder: Path, columns: dict[str, list[Any]]) -> None:
    """Keep what was heard, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(folder / "words.parquet") as unfinished:
        pq.write_table(pa.table(columns), unfinished)


def require_sizes(recipe: ToneRecipe) -> None:
    """Make sure that the networks of a recipe can be, before anything is trained.

    Raises:
        DataError: sizes that don't go together.
    """
    config = tone_config(recipe, 1)
    if isinstance(recipe, VoiceRecipe):
        _require_learnt(recipe)
    with torch.device("meta"):
        if isinstance(recipe, VoiceRecipe) and recipe.stages.asr is not None:
            asr = asr_config(recipe.stages.asr, Front(config), len(SENTIMENTS) + FIRST)
            AsrTone(Front(config), asr)
            config = replace(config, conformer=asr.conformer)
    try:
        require_sane(config)
    except ValueError as error:
        raise DataError(
            f"{recipe.name}: no network has these sizes ({error}): mend [network] or [stages.asr]"
        ) from error


def _require_learnt(recipe: VoiceRecipe) -> None:
    """That some stage learns the front end."""
    stages = recipe.stages
    learnt = stages.pretrain is not None or (stages.asr is not None and stages.asr.train_front)
    if stages.frozen and not learnt:
        raise DataError(
            f"{recipe.name}: no stage learns the front end, which would stay as it was drawn: give "
            "[stages.pretrain], stages.asr.train_front = true or stages.frozen = false"
        )


def tone_net(recipe: VoiceRecipe, emotions: int, learnt: Learnt) -> ToneNet:
    """An untrained tone network on what the stages gave, on the CPU."""
    conformer = None if learnt.asr is None else learnt.asr.config.conformer
    net = ToneNet(replace(tone_config(recipe, emotions), conformer=conformer))
    net.encoder.front.load_state_dict(learnt.front.state_dict())
    if learnt.asr is not None and net.encoder.conformer is not None:
        net.encoder.conformer.load_state_dict(learnt.asr.conformer.state_dict())
    return net


def fit_tone(
    recipe: VoiceRecipe,
    learnt: Learnt,
    store: ClipStore,
    labels: Labels,
    train: Rows,
    seed: int,
    progress: Count,
    device: torch.device,
) -> ToneNet:
    """Learn the tone on what the stages gave.

    Args:
        recipe: the settings.
        learnt: front end and encoder, which stay as they are if the recipe says so.
        store: clips in the order of `labels`, then noise.
        labels: of all clips.
        train: rows of labelled clips that may be learnt from.
        seed: of weights, batches and masks.
        progress: told of each step.
        device: where to.

    Returns:
        The running average of the weights, in evaluation mode, on the CPU.
    """
    torch.manual_seed(seed)
    net = tone_net(recipe, len(labels.emotions), learnt).to(device).train()
    if recipe.stages.frozen:
        for part in (net.encoder.front, net.encoder.conformer):
            if part is not None:
                part.requires_grad_(False).eval()
    return fit_net(net, recipe, store, labels, train, seed, progress)
