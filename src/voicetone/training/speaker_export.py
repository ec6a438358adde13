"""A trained speaker-aware transformer as a bundle that `voicetone analyze` takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicetone.errors import DataError
from voicetone.evaluation.calibration import scale, temperature
from voicetone.evaluation.metrics import uar
from voicetone.features.dvector import graph_path
from voicetone.features.sets import SSL, extractor
from voicetone.features.speaker import StatisticsEncoder
from voicetone.features.speaker_frames import frames_id
from voicetone.features.speaker_graph import GraphSettings
from voicetone.pretrained.speaker_part import ENROL_SECONDS, SpeakerPart
from voicetone.pretrained.spec import MAX_FILE_BYTES, WINDOW, WindowFeatures
from voicetone.pretrained.window_predictor import WindowPredictor
from voicetone.training.aae_card import Export, bundle_facts
from voicetone.training.aae_export import CLOSE, GRAPH, head_of, require_free, write_checked
from voicetone.training.speaker_card import RESEMBLYZER, card_of
from voicetone.training.speaker_graph import SpeakerClassifier, Told, graph, multiply_adds
from voicetone.training.speaker_recipe import SpeakerChoice, SpeakerSystem
from voicetone.training.speaker_trained import (
    Heard,
    SpeakerRun,
    choice_of,
    heard,
    open_speaker_run,
    require_predicted,
    scores_of,
)
from voicetone.training.speaker_voices import Enroller
from voicetone.training.systems_trained import TrainedNetwork
from voicetone.types import Floats

SPEAKER_GRAPH = "speaker.onnx"


@dataclass(frozen=True)
class Plan:
    """A network on its way to a bundle."""

    made: Export
    network: TrainedNetwork[Any]
    data: Heard
    told: Told
    choice: SpeakerChoice
    encoder: Any
    """Of embeddings; None where there are none."""


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
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "speaker-aware"`.
        out: the bundle's folder; made if missing.
        fold: whose weights; the first fold's that were kept if not given.
        seed: whose weights; the run's first if not given.
        data: see `open_folder`.
        name: of the bundle; recipe, target and system if not given.
        licence: of the weights; if not given, that of the training data.
        network: where the network of the encoder `onnx` lies, if not where the run found it.

    Raises:
        UsageError, DataError: see `open_folder`; a run that diverged or stopped; a system that
            no bundle can hold; voices that are not those of the training; a bundle that gives
            other probabilities than the network; a folder that holds a bundle.
        MissingExtraError: openSMILE is not installed.
    """
    require_free(out)
    run = open_speaker_run(path, fold=fold, seed=seed, data=data)
    system: SpeakerSystem = run.recipe.systems[0]
    require_exportable(system, path, groups=len(run.networks[0].checkpoint.mean))
    plan = _planned(run, system, name, licence, network)
    graphs, facts = _assembled(plan)
    return write_checked(out, facts, graphs, lambda predictor: require_equal(predictor, plan))


def require_exportable(system: SpeakerSystem, path: Path, groups: int) -> None:
    """Refuse a system that a bundle can't be.

    Args:
        system: what was trained.
        path: of its run.
        groups: of utterances with a normalisation of their own.

    Raises:
        DataError: the control that hears other voices, context, states of a self-supervised
            model, or a normalisation that a stranger has no statistics of.
    """
    why = ""
    kind = system.features.normalise
    if system.control == "shuffled":
        why = 'it is a control that was told of other voices; export the one with control = "none"'
    elif system.context:
        why = "it hears the utterances before, which a bundle does not; train one with context = 0"
    elif system.features.name == SSL:
        why = "it hears the states of another model, which a bundle does not hold"
    elif groups > 1 and kind != "speaker":
        why = (
            "its features are normalised per corpus, whose statistics a stranger does not have; "
            "train one with normalise = 'global'"
        )
    elif kind == "speaker" and system.features.cut_seconds is not None:
        why = "its speakers are known by the first seconds of clips; train one without cut_seconds"
    elif kind == "speaker" and system.takes_speaker:
        why = (
            "it is told of the speaker twice, by an embedding and by its normalisation; train one "
            "with one of them"
        )
    if why:
        raise DataError(f"{path}: can't be a bundle: {why}")


def _planned(
    run: SpeakerRun, system: SpeakerSystem, name: str, licence: str, network: Path | None
) -> Plan:
    """What the fold's validation and test speakers say of a network."""
    trained = run.networks[0]
    head = head_of(trained.checkpoint.labels, run.path)
    told: Told = "nothing"
    choice = SpeakerChoice()
    if system.needs_encoder:
        told, choice = "voice", choice_of(run.settings, network)
    elif system.features.normalise == "speaker":
        told = "frames"
    enroller = Enroller(choice)
    data = heard(run, trained, enroller)
    scores = scores_of(trained.checkpoint, data)
    require_predicted(run, trained, scores)
    truth, held, tested = run.material.truth, data.job.validation, data.job.test
    made = Export(
        run=run,
        network=trained,
        index=0,
        labels=trained.checkpoint.labels,
        head=head,
        name=name,
        licence=licence,
        labelled=frozenset(trained.fold.train),
        foreign=(),
        temperature=temperature(scores[held], truth[held]) if len(held) else 1.0,
        test_uar=uar(truth[tested], scores[tested].argmax(1)),
    )
    encoder = enroller.encoder if told == "voice" else None
    return Plan(made, trained, data, told, choice, encoder)


def _assembled(plan: Plan) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The graphs, and `bundle.json` but for the hashes."""
    checkpoint, made, data = plan.network.checkpoint, plan.made, plan.data
    choice, config = checkpoint.features, checkpoint.config
    opensmile = extractor(made.features).settings.get("opensmile")
    features = WindowFeatures(
        name=choice.name,
        cut_seconds=choice.cut_seconds,
        size=config.inputs,
        frames=choice.frames,
        step=choice.step,
        opensmile=opensmile,
    )
    part = speaker_part(plan, features)
    place = -1 if plan.told == "frames" else 0
    mean, scales = (torch.from_numpy(v[place]) for v in (data.mean, data.scale))
    classifier = SpeakerClassifier(checkpoint, mean, scales, plan.told).eval()
    size = 0 if part is None else part.size
    graphs = {GRAPH: graph(classifier, choice.frames, size, made.head), **voice_graphs(plan)}
    names = {"classifier": GRAPH} | ({"speaker": SPEAKER_GRAPH} if len(graphs) > 1 else {})
    adds = multiply_adds(checkpoint.net, choice.frames)
    facts: dict[str, Any] = {
        "format": WINDOW,
        "features": features.model_dump(),
        "graphs": names,
        "head": made.head,
        "parameters": classifier.parameters_count,
        **bundle_facts(made, adds, card_of(part)),
    }
    if part is not None:
        facts["speaker"] = json.loads(part.model_dump_json())
    if part is not None and part.kind == "dvector":
        facts["attribution"] = [*facts["attribution"], RESEMBLYZER]
    return graphs, facts


def speaker_part(plan: Plan, features: WindowFeatures) -> SpeakerPart | None:
    """What the bundle says of the speaker."""
    if plan.told == "nothing":
        return None
    if plan.told == "frames":
        id_ = frames_id(features.decisive, features.step)
        size, alike = 2 * features.size, StatisticsEncoder.same_voice
        return SpeakerPart(
            kind="frames",
            encoder=id_,
            size=size,
            same_voice=alike,
            enrol_seconds=ENROL_SECONDS,
            network=None,
        )
    network = None
    settings = plan.choice.what
    if isinstance(settings, GraphSettings):
        told = asdict(settings)
        network = {key: value for key, value in told.items() if key not in ("path", "same_voice")}
    return SpeakerPart.model_validate(
        {
            "kind": plan.choice.encoder,
            "encoder": plan.encoder.id,
            "size": plan.encoder.size,
            "same_voice": plan.encoder.same_voice,
            "enrol_seconds": ENROL_SECONDS,
            "network": network,
        }
    )


def voice_graphs(plan: Plan) -> dict[str, bytes]:
    """The graph that makes a voice of speech, where there is one.

    Raises:
        DataError: it is larger than a file of a bundle may be.
    """
    if plan.told != "voice" or plan.choice.encoder == "statistics":
        return {}
    path = graph_path() if plan.choice.encoder == "dvector" else Path(plan.choice.path)
    content = path.read_bytes()
    if len(content) > MAX_FILE_BYTES:
        raise DataError(
            f"{path}: {len(content) >> 20} MiB, and a file of a bundle has {MAX_FILE_BYTES >> 20} "
            "at most: train with a smaller network of voices"
        )
    return {SPEAKER_GRAPH: content}


def require_equal(predictor: WindowPredictor, plan: Plan) -> None:
    """Make sure that a bundle gives what its network gives, on all held-out utterances.

    Each is asked about twice where the network is told of speakers: with its own, as the rest of
    their clips have it, and unknown.

    Args:
        predictor: of the bundle.
        plan: the network.

    Raises:
        DataError: probabilities further apart than `CLOSE`.
    """
    made, data = plan.made, plan.data
    rows = np.concatenate([data.job.validation, data.job.test])
    for known in (True,) if plan.told == "nothing" else (True, False):
        wanted = scores_of(plan.network.checkpoint, data, known=known)[rows]
        found: list[Floats] = []
        for row in rows.tolist():
            voice = data.voices(plan.told, row) if known else None
            found.append(predictor.probabilities(data.values[row], voice)[made.head])
        apart = float(np.abs(np.stack(found) - scale(wanted, made.temperature)).max())
        if not apart <= CLOSE:
            raise DataError(
                f"{plan.network.path}: as a bundle it gives other probabilities, by up to "
                f"{apart:.2g}; nothing was written: report it"
            )
