"""What a bundle of voice and words says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from voicetone.corpora.manifest import Manifest
from voicetone.pretrained.speaker_part import SpeakerPart
from voicetone.pretrained.text_part import TextPart
from voicetone.training.aae_card import Card, Export, card_text
from voicetone.training.speaker_card import sources_of, speaker_words


def card_of(part: SpeakerPart | None, text: TextPart) -> Card:
    """What writes the model card.

    Args:
        part: what the network is told of the speaker.
        text: what it reads.
    """

    def write(made: Export, name: str, manifests: list[Manifest], found: Mapping[str, str]) -> str:
        run, system = made.run, made.run.settings["system"]
        return card_text(
            made,
            name,
            manifests,
            found,
            what=f"A network of voice and words (recipe {run.settings['name']}, system "
            f"{system['name']}, fusion {system['fusion']}).",
            heard=" and from what is said in it",
            told=(
                f"It reads {text.words} words, which are those of the training transcripts, "
                f"{text.limit} of a window at most, and no other. Without a transcript, or with "
                "none of these words in it, it goes by the voice alone. The list of words lies in "
                "the bundle: whoever has the bundle can read it.",
                speaker_words(part),
            ),
            sources=sources_of(part),
            scored=" with their whole transcripts",
        )

    return write
