"""What a bundle of a speaker-aware transformer says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from voicetone.corpora.manifest import Manifest
from voicetone.pretrained.speaker_part import SpeakerPart
from voicetone.training.aae_card import Card, Export, card_text

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


def card_of(part: SpeakerPart | None) -> Card:
    """What writes the model card.

    Args:
        part: what the network is told of the speaker.
    """

    def write(made: Export, name: str, manifests: list[Manifest], found: Mapping[str, str]) -> str:
        run, system = made.run, made.run.settings["system"]
        return card_text(
            made,
            name,
            manifests,
            found,
            what=f"A speaker-aware transformer (recipe {run.settings['name']}, system "
            f"{system['name']}, integration {system['integration']}).",
            told=(speaker_words(part),),
            sources=sources_of(part),
            scored=", told of each speaker by the others of their clips",
        )

    return write


def sources_of(part: SpeakerPart | None) -> tuple[str, ...]:
    """What the network of voices was made from."""
    return (RESEMBLYZER,) if part is not None and part.kind == "dvector" else ()


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
