"""`voicetone pseudolabel`: what is missing in a manifest, filled in by machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicetone.cli.output import complain, say, write_text
from voicetone.cli.progress import ProgressBar
from voicetone.errors import UsageError, VoicetoneError

if TYPE_CHECKING:
    from voicetone.pseudolabel import Filled
    from voicetone.pseudolabel.steps import Step

HELP = (
    "Fill in what a manifest lacks: words from the audio, sentiment from the words.\n\nWhat a "
    "person said is never changed. Every filled value carries its source and its confidence, in "
    "the column extra; FILE.labels.jsonl (without FILE's ending) has all answers as they came, "
    "and the same command goes on where it stopped."
)
TRANSCRIBERS = ("pocketsphinx", "none")
LABELLERS = ("vader", "none")


def pseudolabel(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help=".csv, .tsv or .parquet.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The filled manifest, another file.")],
    transcript_by: Annotated[
        str, typer.Option(metavar="NAME", help=f"One of {', '.join(TRANSCRIBERS)}.")
    ] = "pocketsphinx",
    sentiment_by: Annotated[
        str, typer.Option(metavar="NAME", help=f"One of {', '.join(LABELLERS)}.")
    ] = "vader",
    language: Annotated[
        str | None, typer.Option(metavar="en", help="Of rows that name none.")
    ] = None,
    min_confidence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FIELD=]VALUE",
            help="Leave empty what is less sure, in [0, 1]; of all fields or of one; repeatable.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask about labelled rows too, for the agreement.")
    ] = False,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write the summary as JSON.")
    ] = None,
) -> None:
    """Fill a manifest; see HELP."""
    from voicetone.pseudolabel import Journal, fill, tables

    least = _least(min_confidence or ())
    tables.check_out(out, manifest)
    steps = _steps(transcript_by, sentiment_by, language)
    table = tables.read(manifest)
    with Journal(tables.journal_of(out)) as journal, ProgressBar(len(table) * len(steps)) as bar:
        found = fill(table, steps, journal, least=least, check=check, done=bar.done)
    tables.write(found.manifest, out)
    _tell(found, out, as_json)
    if found.failures:
        raise typer.Exit(VoicetoneError.exit_code)


def _steps(transcript_by: str, sentiment_by: str, language: str | None) -> list[Step]:
    """What is asked for, in order.

    Raises:
        UsageError: nothing, or of somebody unknown.
        MissingExtraError: of somebody who is not installed.
    """
    from voicetone.pseudolabel.steps import TextStep, TranscriptStep

    for option, name, known in (
        ("--transcript-by", transcript_by, TRANSCRIBERS),
        ("--sentiment-by", sentiment_by, LABELLERS),
    ):
        if name not in known:
            raise UsageError(f"{option} {name}: no such provider: use {', '.join(known)}")
    steps: list[Step] = []
    if transcript_by == "pocketsphinx":
        from voicetone.language.sphinx import SphinxTranscriber

        steps.append(TranscriptStep(SphinxTranscriber(), language))
    if sentiment_by == "vader":
        from voicetone.language.vader import VaderLabeller

        steps.append(TextStep(VaderLabeller(), language))
    if not steps:
        raise UsageError("nothing to fill: every --…-by is none")
    return steps


def _least(texts: Sequence[str]) -> dict[str, float]:
    """Field → least confidence."""
    from voicetone.pseudolabel.fields import FIELDS

    every: dict[str, float] = {}
    own: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1 or (name and name not in FIELDS):
            raise UsageError(
                f"--min-confidence {text}: give a number from 0 to 1, or FIELD=NUMBER with one "
                f"of {', '.join(FIELDS)}"
            )
        if name:
            own[name] = value
        else:
            every = dict.fromkeys(FIELDS, value)
    return every | own


def _tell(found: Filled, out: Path, as_json: str | None) -> None:
    if as_json is not None:
        data = {"out": str(out), "fields": [tally.to_dict() for tally in found.tallies]}
        text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
        if as_json == "-":
            say(text)
        else:
            write_text(Path(as_json), text)
    for tally in found.tallies:
        for line in tally.lines():
            complain(line)
    if as_json != "-":
        say(f"{out}\n")
