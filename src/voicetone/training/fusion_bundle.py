"""A trained network of voice and words as a bundle that `voicetone analyze` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.evaluation.calibration import scale, temperature
from voicetone.evaluation.metrics import uar
from voicetone.features.sets import extractor
from voicetone.models.fusion import Audio, Text
from voicetone.pretrained.spec import WINDOW, WindowFeatures
from voicetone.pretrained.text_part import TextPart
from voicetone.pretrained.window_predictor import WindowPredictor
from voicetone.training.aae_card import Export, bundle_facts
from voicetone.training.aae_export import CLOSE, GRAPH, head_of, require_free, write_checked
from voicetone.training.fusion_card import card_of
from voicetone.training.fusion_checkpoint import FusionCheckpoint, read_fusion_checkpoint
from voicetone.training.fusion_export import FusedClassifier, text_graph
from voicetone.training.fusion_recipe import FusionRecipe, FusionSystem
from voicetone.training.fusion_words import WORDS, Words
from voicetone.training.speaker_card import RESEMBLYZER
from voicetone.training.speaker_export import (
    SPEAKER_GRAPH,
    Plan,
    require_exportable,
    speaker_part,
    voice_graphs,
)
from voicetone.training.speaker_graph import Told
from voicetone.training.speaker_recipe import SpeakerChoice
from voicetone.training.speaker_trained import (
    Heard,
    choice_of,
    heard,
    normalised,
    require_predicted,
)
from voicetone.training.speaker_voices import Enroller, Knowledge
from voicetone.training.systems_trained import OpenedRun, open_folder
from voicetone.training.tone_export import exported
from voicetone.types import Floats

TEXT_GRAPH, VOCABULARY = "text.onnx", "vocabulary.txt"
FusionRun = OpenedRun[FusionRecipe, FusionCheckpoint]


@dataclass(frozen=True)
class _Fused:
    """A network on its way to a bundle, and what is said in its utterances."""

    plan: Plan
    kept: FusionCheckpoint
    reader: Words
    texts: list[str | None]


def export(
    path: Path,
    out: Path,
    *,
    fold: str = "",
    seed: int | None = None,
    data: Sequence[Path] = (),
    name: str = "",
    licence: str = "",
    network: Path | None = None,
) -> Path:
    """Write one fold's network of a run as a bundle.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "fusion"`.
        out: the bundle's folder; made if missing.
        fold: whose weights; the first fold's that were kept if not given.
        seed: whose weights; the run's first if not given.
        data: see `open_folder`.
        name: of the bundle; recipe, target and system if not given.
        licence: of the weights; if not given, that of the training data.
        network: where the network of the encoder `onnx` lies, if not where the run found it.

    Raises:
        UsageError, DataError: see `open_folder`; a system that no bundle can hold; a run that
            diverged or stopped; a bundle that gives other probabilities than the network; a folder
            that holds a bundle.
        MissingExtraError: openSMILE is not installed.
    """
    require_free(out)
    run = open_folder(
        path, FusionRecipe, "fusion", read_fusion_checkpoint, fold=fold, seed=seed, data=data
    )
    require_fused(run)
    fused = _planned(run, name, licence, network)
    files, facts = _assembled(fused)
    return write_checked(out, facts, files, lambda predictor: require_equal(predictor, fused))


def require_fused(run: FusionRun) -> None:
    """Refuse a system that a bundle can't be.

    Raises:
        DataError: it hears or reads alone, or reads by a model of somebody else; or as for networks
            that only hear.
    """
    system: FusionSystem = run.recipe.systems[0]
    kept = run.networks[0].checkpoint
    why = ""
    if not system.fused:
        why = (
            f"fusion = {system.fusion!r} is voice or words alone: export early, late, gated or "
            'cross-attention, or train the voice alone with kind = "speaker-aware"'
        )
    elif not isinstance(kept.reader, Words):
        why = (
            "its words are read by a model of the transformers library, which a bundle does not "
            "hold: train one without text.model"
        )
    elif system.features.normalise == "speaker":
        why = "its features are normalised per speaker: train one with normalise = 'global'"
    if why:
        raise DataError(f"{run.path}: can't be a bundle: {why}")
    require_exportable(system, run.path, groups=len(kept.mean))


def _planned(run: FusionRun, name: str, licence: str, network: Path | None) -> _Fused:
    """What the fold's validation and test speakers say of a network."""
    system, trained = run.recipe.systems[0], run.networks[0]
    kept = trained.checkpoint
    assert isinstance(kept.reader, Words)
    head = head_of(kept.labels, run.path)
    told: Told = "voice" if system.needs_encoder else "nothing"
    choice = choice_of(run.settings, network) if told == "voice" else SpeakerChoice()
    enroller = Enroller(choice)
    data = heard(run, trained, enroller)
    texts = [u.transcript for u in run.material.utterances]
    scores = fused_scores(kept, data, texts)
    require_predicted(run, trained, scores)
    truth, held, tested = run.material.truth, data.job.validation, data.job.test
    made = Export(
        run=run,
        network=trained,
        index=0,
        labels=kept.labels,
        head=head,
        name=name,
        licence=licence,
        labelled=frozenset(trained.fold.train),
        foreign=(),
        temperature=temperature(scores[held], truth[held]) if len(held) else 1.0,
        test_uar=uar(truth[tested], scores[tested].argmax(1)),
    )
    encoder = enroller.encoder if told == "voice" else None
    return _Fused(Plan(made, trained, data, told, choice, encoder), kept, kept.reader, texts)


def _assembled(fused: _Fused) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files, and `bundle.json` but for the hashes."""
    plan, kept, reader = fused.plan, fused.kept, fused.reader
    choice, made = kept.features, plan.made
    features = WindowFeatures(
        name=choice.name,
        cut_seconds=choice.cut_seconds,
        size=kept.net.acoustic.config.inputs,
        frames=choice.frames,
        step=choice.step,
        opensmile=extractor(made.features).settings.get("opensmile"),
    )
    part = speaker_part(plan, features)
    text = TextPart(
        encoder=WORDS,
        vocabulary=VOCABULARY,
        words=len(reader.known),
        limit=reader.limit,
        size=reader.size,
    )
    voices = voice_graphs(plan)
    files = {
        GRAPH: classifier_graph(kept, plan.told, made.head),
        TEXT_GRAPH: text_graph(reader),
        VOCABULARY: "".join(f"{word}\n" for word in reader.known).encode(),
        **voices,
    }
    names = {"classifier": GRAPH, "text": TEXT_GRAPH}
    names |= {"speaker": SPEAKER_GRAPH} if voices else {}
    modules = {"net": kept.net, "reader": reader}
    facts: dict[str, Any] = {
        "format": WINDOW,
        "features": features.model_dump(),
        "graphs": names,
        "head": made.head,
        "parameters": _parameters(modules),
        "text": text.model_dump(),
        **bundle_facts(made, multiply_adds(kept, reader), card_of(part, text)),
    }
    if part is not None:
        facts["speaker"] = part.model_dump(mode="json")
    if part is not None and part.kind == "dvector":
        facts["attribution"] = [*facts["attribution"], RESEMBLYZER]
    return files, facts


class _Bundled(nn.Module):
    """The classifier of a bundle: there is always a voice, and the speaker where one is told of."""

    def __init__(self, kept: FusionCheckpoint, told: Told) -> None:
        super().__init__()
        self.fused, self.told = FusedClassifier(kept), told
        self.size = kept.net.acoustic.config.speaker

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        tokens: Tensor,
        token_mask: Tensor,
        read: Tensor,
        voice: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Logits `[1, classes]`; see `voicetone.training.fusion_export.FusionGraphs`."""
        if self.fused.takes_speaker and self.told == "nothing":
            voice, known = torch.zeros(1, self.size), torch.zeros(1)
        heard = torch.ones(1)
        return torch.as_tensor(
            self.fused(features, mask, heard, tokens, token_mask, read, voice, known)
        )


def classifier_graph(kept: FusionCheckpoint, told: Told, output: str) -> bytes:
    """`classifier.onnx`, for one utterance at a time.

    Args:
        kept: the network.
        told: what of the speaker.
        output: name of the logits.
    """
    module = _Bundled(kept, told)
    names = ["features", "mask", "tokens", "token_mask", "read"]
    features, mask, _, *words = module.fused.example(kept.features.frames, 3)
    inputs = [features, mask, *words[:3]]
    if told == "voice":
        names += ["voice", "known"]
        inputs += [torch.ones(1, module.size), torch.ones(1)]
    axes: dict[str, dict[int, str]] = {name: {} for name in names}
    axes |= {"tokens": {1: "words"}, "token_mask": {1: "words"}}
    return exported(module, tuple(inputs), axes, {output: {}})


@torch.no_grad()
def fused_scores(
    kept: FusionCheckpoint, data: Heard, texts: Sequence[str | None], *, known: bool = True
) -> Floats:
    """Probabilities of all utterances `[n, classes]`, by the trained network itself.

    Args:
        kept: the network.
        data: what it hears.
        texts: what is said in each; None where that is not known.
        known: whether it is told of the speakers.
    """
    assert kept.reader is not None
    size = kept.net.acoustic.config.speaker
    told = data.knowledge
    if not known or told.embedding.shape[1] != size:  # control = zero knows nobody
        told = Knowledge.nothing(len(texts), max(size, 1))
    rows = []
    for row, text in enumerate(texts):
        frames, mask = normalised(data, int(data.group[row]), row, kept.features)
        x, real = torch.from_numpy(frames)[None], torch.from_numpy(mask)[None]
        voice = torch.from_numpy(told.embedding[row : row + 1])
        there = torch.from_numpy(told.known[row : row + 1])
        tokens = kept.reader.tokens([text])
        words = Text(kept.reader(tokens.ids, tokens.mask), tokens.mask, tokens.known)
        (logits,) = kept.net(Audio(x, real, None, voice, there), words).logits.values()
        rows.append(torch.softmax(logits.double(), dim=1))
    return np.asarray(torch.cat(rows).numpy(), dtype=np.float32)


def require_equal(predictor: WindowPredictor, fused: _Fused) -> None:
    """Make sure that a bundle gives what its network gives, on all held-out utterances.

    Each is asked about with its words and without, and where the network is told of speakers with
    its own and unknown.

    Args:
        predictor: of the bundle.
        fused: the network.

    Raises:
        DataError: probabilities further apart than `CLOSE`.
    """
    plan = fused.plan
    made, data = plan.made, plan.data
    rows = np.concatenate([data.job.validation, data.job.test]).tolist()
    none: list[str | None] = [None] * len(fused.texts)
    for known in (True,) if plan.told == "nothing" else (True, False):
        for texts in (fused.texts, none):
            wanted = fused_scores(fused.kept, data, texts, known=known)[rows]
            found: list[Floats] = []
            for row in rows:
                voice = data.voices(plan.told, row) if known else None
                values = data.values[row]
                found.append(predictor.probabilities(values, voice, texts[row])[made.head])
            apart = float(np.abs(np.stack(found) - scale(wanted, made.temperature)).max())
            if not apart <= CLOSE:
                raise DataError(
                    f"{plan.network.path}: as a bundle it gives other probabilities, by up to "
                    f"{apart:.2g}; nothing was written: report it"
                )


def _parameters(modules: dict[str, nn.Module]) -> int:
    """Trained numbers, without those that were there for the training alone."""
    named = (pair for module in modules.values() for pair in module.named_parameters())
    return sum(p.numel() for name, p in named if not name.startswith("acoustic.adversary."))


@torch.no_grad()
def multiply_adds(kept: FusionCheckpoint, reader: Words) -> int:
    """Multiply-adds of one window with as many words as are read: layers, and attention."""
    total = [0]

    def count(layer: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            total[0] += given.numel() * layer.in_features
        elif isinstance(layer, nn.Conv1d):
            total[0] += given.numel() * layer.in_channels * layer.kernel_size[0]

    parts = ((name, m) for module in (kept.net, reader) for name, m in module.named_modules())
    kinds = nn.Linear, nn.Conv1d
    hooks = [
        m.register_forward_hook(count)
        for name, m in parts
        if isinstance(m, kinds) and not name.startswith("acoustic.adversary")
    ]
    config, length = kept.net.acoustic.config, reader.limit
    frames = kept.features.frames
    try:
        tokens = reader(torch.ones(1, length, dtype=torch.int64), torch.ones(1, length))
        voice = torch.zeros(1, max(config.speaker, 1))
        audio = Audio(torch.zeros(1, frames, config.inputs), torch.ones(1, frames), None, voice)
        kept.net(audio, Text(tokens, torch.ones(1, length)))
    finally:
        for hook in hooks:
            hook.remove()
    steps = -(-frames // config.subsample) + (config.integration == "prefix")
    attention = config.layers * steps**2 * config.width + len(reader.layers) * length**2 * (
        reader.size
    )
    if kept.net.config.fusion == "cross-attention":
        attention += 2 * steps * length * config.width
    return total[0] + 2 * attention
