"""What a bundle of voice and words says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from voicetone.audio.energy import ABOVE
from voicetone.corpora.manifest import Manifest
from voicetone.features.sets import OPENSMILE
from voicetone.pretrained.speaker_part import SpeakerPart
from voicetone.pretrained.text_part import TextPart
from voicetone.training.aae_card import (
    SMILE,
    Card,
    Export,
    derived,
    learnt_words,
    temperature_words,
)
from voicetone.training.speaker_card import RESEMBLYZER, speaker_words


def card_of(part: SpeakerPart | None, text: TextPart) -> Card:
    """What writes the model card.

    Args:
        part: what the network is told of the speaker.
        text: what it reads.
    """

    def write(made: Export, name: str, manifests: list[Manifest], found: Mapping[str, str]) -> str:
        run, system = made.run, made.run.settings["system"]
        lines = [
            f"# {name}",
            "",
            f"A network of voice and words (recipe {run.settings['name']}, system "
            f"{system['name']}, fusion {system['fusion']}). It gives {made.head} "
            f"({', '.join(made.labels)}) of a window of 5 s from its {made.features} and from what "
            "is said in it.",
            "",
            derived(made),
            f"{temperature_words(made)} Speech is estimated from the energy of the sound, "
            f"{ABOVE:g} dB above the quietest of late: any sound can pass for it.",
            "",
            f"It reads {text.words} words, which are those of the training transcripts, "
            f"{text.limit} of a window at most, and no other. Without a transcript, or with none "
            "of these words in it, it goes by the voice alone. The list of words lies in the "
            "bundle: whoever has the bundle can read it.",
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
            "on speakers it had not heard, whole utterances at a time with their whole "
            "transcripts. This is one of these networks; windows of a call were not measured.",
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
