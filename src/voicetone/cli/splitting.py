"""`--split-speakers` and `--split-encoder`: what they ask for, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicetone.errors import UsageError

if TYPE_CHECKING:
    from voicetone.inference.split_file import Splitting


def splitting_of(speakers: str | None, encoder: str | None) -> Splitting | None:
    """What the two options ask for; None for no split.

    Args:
        speakers: a number, or `auto`.
        encoder: by name; by default the d-vectors where they have been converted.

    Raises:
        UsageError: no number that can be, no such encoder, or an encoder without a split.
        DataError: the encoder's network is missing or damaged.
    """
    if speakers is None:
        if encoder is not None:
            raise UsageError(
                "--split-encoder is for --split-speakers: give that too, or leave it out"
            )
        return None
    from voicetone.inference.split_file import (
        Splitting,
        default_encoder,
        encoder_of,
        speakers_in,
    )
    from voicetone.pretrained.speakers import ENCODERS

    try:
        number = speakers_in(speakers)
    except UsageError as error:
        raise UsageError(f"--split-speakers {error}") from None
    if encoder is not None and encoder not in ENCODERS:
        raise UsageError(f"--split-encoder {encoder[:40]}: not known: use {' or '.join(ENCODERS)}")
    splitting = Splitting(number, encoder or default_encoder())
    encoder_of(splitting)
    return splitting


def caution(splitting: Splitting, encoder: str | None) -> str | None:
    """A line about what is missing for a better split; None where nothing is, or it was chosen.

    Args:
        splitting: what will be done.
        encoder: the one asked for, if one was.
    """
    if encoder is not None or splitting.encoder != "statistics":
        return None
    from voicetone.features.dvector import INSTALL
    from voicetone.pretrained.speakers import CONVERT

    return (
        "the speakers are told apart by plain statistics, which give about three times as much "
        f"speech to the wrong one as d-vectors do (docs/speaker.md): {INSTALL} && {CONVERT}"
    )
