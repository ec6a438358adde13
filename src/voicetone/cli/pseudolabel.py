"""`voicetone pseudolabel`: what is missing in a manifest, filled in by machines."""

from __future__ import annotations

import json
import sys
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
    from voicetone.types import Utterance

HELP = (
    "Fill in what a manifest lacks: words from the audio, sentiment from the words or from the "
    "voice, emotion from the voice.\n\nWhat a person said is never changed. Every filled value "
    "carries its source and its confidence, in the column extra; FILE.labels.jsonl (without "
    "FILE's ending) has all answers as they came, and the same command goes on where it stopped. "
    "Nothing leaves this machine unless its place is named with --send-text-to or --send-audio-to."
)
TRANSCRIBERS = "pocketsphinx, faster-whisper, transformers, transcribe (Amazon), none"
LABELLERS = "vader, transformers, comprehend (Amazon), llm, tone, none"


def pseudolabel(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help=".csv, .tsv or .parquet.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The filled manifest, another file.")],
    transcript_by: Annotated[
        str, typer.Option(metavar="NAME", help=f"Words: {TRANSCRIBERS}.")
    ] = "pocketsphinx",
    sentiment_by: Annotated[
        str, typer.Option(metavar="NAME", help=f"Sentiment: {LABELLERS}.")
    ] = "vader",
    emotion_by: Annotated[str, typer.Option(metavar="NAME", help="Emotion: tone, none.")] = "none",
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
    bundle: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Of tone; tone-small by default.")
    ] = None,
    asr_model: Annotated[
        str | None,
        typer.Option(metavar="DIR|NAME@REVISION", help="Of faster-whisper, transformers."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of llm; DIR|NAME@REVISION of transformers.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Of llm: as https://host/v1.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="Environment variable with llm's key.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Of llm, seconds of one request.")] = 60.0,
    retries: Annotated[int, typer.Option(help="Of llm, tries after the first.")] = 4,
    per_minute: Annotated[
        float | None, typer.Option(help="Of llm, requests at most; all it takes by default.")
    ] = None,
    price_in: Annotated[
        float | None, typer.Option(help="Of llm, for a million tokens sent.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(help="Of llm, for a million tokens received.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Of Amazon; else boto3's own.")] = None,
    bucket: Annotated[
        str | None, typer.Option(help="Of transcribe: holds audio while a job runs.")
    ] = None,
    send_text_to: Annotated[
        str | None, typer.Option(metavar="HOST", help="Transcripts may go there.")
    ] = None,
    send_audio_to: Annotated[
        str | None, typer.Option(metavar="HOST", help="Recordings may go there.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking first.")] = False,
) -> None:
    """Fill a manifest; see HELP."""
    from voicetone.pseudolabel import Journal, fill, tables
    from voicetone.pseudolabel.routes import Wishes, leaves, steps_of, used

    least = _least(min_confidence or ())
    prices = _prices(price_in, price_out)
    tables.check_out(out, manifest)
    table = tables.read(manifest)
    wishes = Wishes(
        transcript_by=transcript_by,
        sentiment_by=sentiment_by,
        emotion_by=emotion_by,
        language=language,
        asr_model=asr_model,
        model=model,
        bundle=bundle,
        endpoint=endpoint,
        api_key_env=api_key_env,
        timeout=timeout,
        retries=retries,
        per_minute=per_minute,
        region=region,
        bucket=bucket,
        send_text_to=send_text_to,
        send_audio_to=send_audio_to,
    )
    steps = steps_of(wishes)
    if not yes and any(map(leaves, steps)) and not sys.stdin.isatty():
        raise UsageError("there is nobody to ask before it is sent: say --yes to send without")
    with Journal(tables.journal_of(out)) as journal, _Screen(prices, yes) as screen:
        found = fill(
            table,
            steps,
            journal,
            least=least,
            check=check,
            before=screen.before,
            done=screen.done,
        )
    tables.write(found.manifest, out)
    _tell(found, out, as_json)
    for said in filter(None, map(used, steps)):
        complain(said)
    if found.failures:
        raise typer.Exit(VoicetoneError.exit_code)


class _Screen:
    """What is said and asked before each step, and its progress."""

    def __init__(self, prices: tuple[float, float] | None, yes: bool) -> None:
        self._prices = prices
        self._yes = yes
        self._bar: ProgressBar | None = None

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def before(self, step: Step, asked: Sequence[Utterance]) -> None:
        """Say what will be sent where and at what cost, and ask.

        Raises:
            Abort: the answer was no.
        """
        from voicetone.pseudolabel.routes import cost, journey, leaves

        self._close()
        trip = journey(step, asked)
        if trip is not None:
            price = cost(step, asked, self._prices)
            complain(f"{step.field}: {trip.cargo}, go to {trip.host}{price}")
            if leaves(step) and not self._yes and not typer.confirm("Send them?", err=True):
                raise typer.Abort
        self._bar = ProgressBar(len(asked))

    def done(self, index: int) -> None:
        """One answer is there."""
        if self._bar is not None:
            self._bar.done(index)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None


def _prices(price_in: float | None, price_out: float | None) -> tuple[float, float] | None:
    """Both prices, or none."""
    for option, price in (("--price-in", price_in), ("--price-out", price_out)):
        if price is not None and not 0 <= price < 1e9:
            raise UsageError(f"{option} {price:g}: give the price of a million tokens")
    if price_in is None and price_out is None:
        return None
    if price_in is None or price_out is None:
        raise UsageError("--price-in and --price-out: give both or none")
    return price_in, price_out


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
