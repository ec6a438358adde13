"""`--speaker-enrol`: whose voice a model is told of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voicetone.errors import UsageError

if TYPE_CHECKING:
    from voicetone.inference.enrolment import Speakers
    from voicetone.pretrained.predictor import Predictor

AUTO, NONE = "auto", "none"
SOLE = 0  # stands for the one channel that is analysed


@dataclass(frozen=True, slots=True)
class Enrolling:
    """What was asked for: files by channel, or nobody at all."""

    files: tuple[tuple[int, tuple[Path, ...]], ...] = ()
    """Channels from 1, or `SOLE`."""
    nobody: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The voices of a run."""

    speakers: Speakers
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    """Changes with the content of the files."""


def enrolling_of(
    given: Sequence[str] | None, names: Sequence[str] | None, *, split: bool = False
) -> Enrolling:
    """What the options ask for.

    Args:
        given: each `auto`, `none`, FILE or CHANNEL=FILE.
        names: of the channels.
        split: whether a channel is split by speaker.

    Raises:
        UsageError: `auto` or `none` beside others; files with and without a channel; files for
            parties that are not known beforehand.
    """
    given = [*(given or (AUTO,))]
    if given in ([AUTO], [NONE]):
        return Enrolling(nobody=given == [NONE])
    if AUTO in given or NONE in given:
        raise UsageError(f"--speaker-enrol {AUTO} and {NONE} stand alone: leave the others out")
    if split:
        raise UsageError(
            "--speaker-enrol FILE and --split-speakers: who of the parties it is is not known: "
            "give one of them"
        )
    found: dict[int, list[Path]] = {}
    for text in given:
        channel, path = parted(text, names)
        if path in ("", "-"):
            raise UsageError(f"--speaker-enrol {text[:80]!r}: name a file")
        found.setdefault(channel, []).append(Path(path))
    if SOLE in found and len(found) > 1:
        raise UsageError(
            "--speaker-enrol: files with and without a channel: say of each whose it is, such as "
            "1=FILE"
        )
    return Enrolling(tuple((c, tuple(paths)) for c, paths in sorted(found.items())))


def voices_of(
    given: Sequence[str] | None, names: Sequence[str] | None
) -> str | Mapping[int, str] | None:
    """The same for a server, which has its own voices: ids instead of files.

    Raises:
        UsageError: as `enrolling_of`, or several voices of one person.
    """
    if given is None:
        return None
    asked = enrolling_of(given, names)
    if not asked.files:
        return NONE if asked.nobody else AUTO
    if any(len(ids) > 1 for _, ids in asked.files):
        raise UsageError("--speaker-enrol with --server: give one voice of the server per channel")
    found = {channel: str(ids[0]) for channel, ids in asked.files}
    return found.get(SOLE, found)


def parted(text: str, names: Sequence[str] | None) -> tuple[int, str]:
    """Channel and path; without a channel before it all is the path."""
    who, equals, path = text.partition("=")
    if not equals:
        return SOLE, text
    if names is not None and who in names:
        return list(names).index(who) + 1, path
    if who.isdecimal() and 0 < len(who) <= 3 and int(who) > 0:
        return int(who), path
    return SOLE, text


def known(asked: Enrolling, opened: Callable[[], Predictor]) -> Known:
    """The voices of a run.

    Args:
        asked: for whom.
        opened: gives the model, where it is needed.

    Raises:
        UsageError: the model takes no speaker.
        AudioError: a file that can't be read, or without speech.
    """
    if asked.nobody:
        return Known(None, fingerprint=NONE)
    if not asked.files:
        return Known("auto")
    from voicetone.inference.enrolment import enrol_files_for

    predictor = opened()
    digest = hashlib.sha256()
    voices = {}
    for channel, paths in asked.files:
        voices[channel] = enrol_files_for(predictor, paths)
        for path in paths:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{channel} {content}\n".encode())
    warnings = tuple(line for voice in voices.values() for line in voice.warnings)
    speakers: Speakers = voices.get(SOLE, voices)
    return Known(speakers, warnings, digest.hexdigest())
