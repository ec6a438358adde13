"""What a bundle of a speaker-aware transformer says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from voicetone.audio.energy import ABOVE
from voicetone.corpora.manifest import Manifest
from voicetone.features.sets import OPENSMILE
from voicetone.pretrained.speaker_part import SpeakerPart
from voicetone.training.aae_card import SMILE, Export, derived, learnt_words, temperature_words

RESEMBLYZER = (
    "d-vector: Resemblyzer (Resemble AI), Apache-2.0, https://github.com/resemble-ai/Resemblyzer; "
    "its weights, converted to ONNX"
)
_KINDS = {
    "statistics": "mean and deviation of log-mel bands",
    "dvector": "the d-vector that lies in the bundle",
    "onnx": "the network of voices that lies in the bundle",
    "frames": "mean and deviation of its own features, with which they are normalised",
}


def card_of(
    part: SpeakerPart | None,
) -> Callable[[Export, str, list[Manifest], Mapping[str, str]], str]:
    """What writes the model card.

    Args:
        part: what the network is told of the speaker.
    """

    def write(made: Export, name: str, manifests: list[Manifest], found: Mapping[str, str]) -> str:
        run, system = made.run, made.run.settings["system"]
        lines = [
            f"# {name}",
            "",
            f"A speaker-aware transformer (recipe {run.settings['name']}, system {system['name']}, "
            f"integration {system['integration']}). It gives {made.head} "
            f"({', '.join(made.labels)}) of a window of 5 s from its {made.features}.",
            "",
            derived(made),
            f"{temperature_words(made)} Speech is estimated from the energy of the sound, "
            f"{ABOVE:g} dB above the quietest of late: any sound can pass for it.",
            "",
            speaker_words(part),
            "",
            "## What it was made from",
            "",
            *(f"- {m.corpus}: {m.citation}; {m.licence}" for m in manifests),
            f"- these weights: {run.material.rule}; {learnt_words(made)}",
            *([f"- {RESEMBLYZER}"] if part is not None and part.kind == "dvector" else []),
            "",
            "## How good it is on speakers that it never heard",
            "",
            *(f"- {key}: {value}" for key, value in found.items()),
            "",
            "The scores of the run are of all of its folds together, each by a network of its own "
            "on speakers it had not heard, whole utterances at a time, told of each speaker by the "
            "others of their clips. This is one of these networks; windows of a call were not "
            "measured.",
            "",
            "## What it is not for",
            "",
            "It may not be used to decide about a person, to tell who somebody is, nor to infer "
            "the emotions of people at work or in education (EU AI Act, Article 5(1)(f)).",
            "",
            *([f"{SMILE}.", ""] if made.features.name in OPENSMILE else []),
        ]
        return "\n".join(lines)

    return write


def speaker_words(part: SpeakerPart | None) -> str:
    """What the network is told of the speaker, and without being told."""
    if part is None:
        return "It is told of no speaker."
    without = (
        "Until then, and for an unknown speaker, it normalises with the training speakers'."
        if part.kind == "frames"
        else "Until then, and for an unknown speaker, it takes a stand-in that it learnt."
    )
    return (
        f"It may be told whose voice it hears, by {_KINDS[part.kind]}: enrolled beforehand, or "
        f"from the first {part.enrol_seconds:g} s of speech of a call. {without} An enrolled voice "
        "is personal data: have consent of its own for it, and delete it when it is not needed."
    )
