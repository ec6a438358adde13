"""`voicetone analyze`: the options and what they mean together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from voicetone.cli.enrolling import enrolling_of
from voicetone.cli.output import PER_FILE, TABLES, Outputs, complain
from voicetone.cli.splitting import caution, splitting_of
from voicetone.cli.transcripts import files_of
from voicetone.errors import UsageError

if TYPE_CHECKING:
    from voicetone.audio.decode import RawFormat

INPUT = "Input"
MODEL = "Model and machine"
OUTPUT = "Output (each takes a path; - is standard output)"

# One line per paragraph: the help is wrapped to the terminal.
HELP = "\n\n".join(
    [
        "Analyse recordings: tone over time per channel, as a table and in files.",
        "For several recordings, --json, --html, --rttm, --textgrid and --audacity take a folder "
        "(end its name with /) and write one file per recording there, with the input's "
        "sub-folders.",
        "A run that was killed goes on where it stopped when the same command is given again: "
        "results in the --jsonl file or the --json folder are kept as long as the recording, the "
        "model and the options are the same. With other outputs alone, a .partial.jsonl file "
        "stands beside the first of them until the run is complete. --force starts anew.",
        "A recording that can't be analysed costs one line on standard error; the others go on.",
    ]
)


def _model_names() -> list[str]:
    from voicetone.pretrained import installed

    return list(installed())


def analyze(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Recordings: files, folders, patterns, or - for standard input.",
        ),
    ],
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="1,2|N",
            help="Which channels to analyse, counted from 1, such as 2 or 1,2. "
            "With --encoding instead: how many channels the stream has.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    channel_names: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="A name for each channel, such as agent,customer. Of named parties the agent "
            "is left out unless --channels or --analyse asks for it.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    analyse: Annotated[
        str | None,
        typer.Option(
            metavar="A,B|all",
            help="Which channels to analyse, by name, or all of them.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split_speakers: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="One channel holds several parties: give each a line of its own. N is how many "
            "there are, which is better than auto. An estimate, and for recordings only: a live "
            "call can't be heard to its end first.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    speaker_enrol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="auto|none|[CHANNEL=]FILE",
            help="Whose voice it is, for a model that knows speakers: auto learns it from the "
            "first seconds of speech (the default), none tells nobody, FILE holds speech of the "
            "person on the one channel that is analysed, 2=FILE of that on channel 2. May be "
            "given several times.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    transcript: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CHANNEL=]FILE",
            help="What is said in the recording, for a model that reads words: JSON lines with "
            "start and end in seconds and text. 2=FILE is of channel 2; without a number it is of "
            "the one channel that is analysed. May be given once a channel.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="dvector|statistics",
            help="What tells the voices apart. Default: dvector where it has been converted.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            metavar="s16le|mulaw|alaw",
            help="The input is headerless audio of this encoding; needs --rate.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ", help="Sampling rate of headerless audio.", rich_help_panel=INPUT
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="An installed model or the folder of a bundle. Default: tone-small, or the only "
            "model that is installed.",
            autocompletion=_model_names,
            rich_help_panel=MODEL,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each job.", rich_help_panel=MODEL)
    ] = 1,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Files analysed at once. Default: one per processor core.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(
            help="One JSON object per recording; a folder for several.", rich_help_panel=OUTPUT
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            help="One page to look at per recording; a folder for several.", rich_help_panel=OUTPUT
        ),
    ] = None,
    rttm: Annotated[
        str | None,
        typer.Option(
            help="RTTM segments per recording; a folder for several.", rich_help_panel=OUTPUT
        ),
    ] = None,
    textgrid: Annotated[
        str | None,
        typer.Option(
            help="A Praat TextGrid per recording; a folder for several.", rich_help_panel=OUTPUT
        ),
    ] = None,
    audacity: Annotated[
        str | None,
        typer.Option(
            help="An Audacity label track per recording; a folder for several.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    jsonl: Annotated[
        str | None,
        typer.Option(help="One JSON object a line, all recordings.", rich_help_panel=OUTPUT),
    ] = None,
    csv: Annotated[
        str | None,
        typer.Option(help="One row per window, all recordings.", rich_help_panel=OUTPUT),
    ] = None,
    parquet: Annotated[
        str | None,
        typer.Option(
            help="The same table as Parquet; needs the extra data.", rich_help_panel=OUTPUT
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Analyse again what is already there.", rich_help_panel=OUTPUT
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="No table, no notice, no progress.", rich_help_panel=OUTPUT
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error.")
    ] = False,
) -> None:
    """Read the options, run the batch, exit with its code. What users read is `HELP`."""
    from voicetone.cli.batch import Request, run_batch
    from voicetone.cli.jobs import Settings

    wanted = dict(zip(PER_FILE, (json, rttm, textgrid, audacity, html), strict=True))
    wanted |= dict(zip(TABLES, (jsonl, csv, parquet), strict=True))
    raw, selected = _input_format(encoding, rate, channels)
    names = names_of(channel_names)
    if analyse is not None:
        if selected is not None:
            raise UsageError("--channels and --analyse both say what to analyse: give one of them")
        selected = by_name(analyse, names)
    split = splitting_of(split_speakers, split_encoder)
    if split is not None and not quiet and (line := caution(split, split_encoder)):
        complain(line)
    code = run_batch(
        Request(
            paths=tuple(paths),
            outputs=Outputs({name: path for name, path in wanted.items() if path is not None}),
            settings=Settings(
                model=model,
                threads=threads,
                raw=raw,
                channels=selected,
                names=names,
                picture=html is not None,
                debug=debug,
                split=split,
            ),
            jobs=jobs,
            force=force,
            quiet=quiet,
            enrol=enrolling_of(speaker_enrol, names, split=split is not None),
            transcripts=files_of(transcript, names, split=split is not None),
        )
    )
    if code:
        raise typer.Exit(code)


def _input_format(
    encoding: str | None, rate: int | None, channels: str | None
) -> tuple[RawFormat | None, tuple[int, ...] | None]:
    """What headerless audio is made of, and the channels asked for."""
    if encoding is None:
        if rate is not None:
            raise UsageError("--rate is for headerless audio: give --encoding too, or leave it out")
        return None, _selection(channels)
    if rate is None:
        raise UsageError("--encoding needs --rate, such as --rate 8000")
    from voicetone.audio.decode import Encoding, RawFormat

    if encoding not in get_args(Encoding):
        known = ", ".join(get_args(Encoding))
        raise UsageError(f"--encoding {encoding}: not known: use one of {known}")
    count = channels or "1"
    if not count.isdecimal() or int(count) < 1:
        raise UsageError(
            f"--channels {count}: with --encoding this is how many channels the stream has"
        )
    return RawFormat(cast(Encoding, encoding), rate, int(count)), None


def _selection(channels: str | None) -> tuple[int, ...] | None:
    if channels is None:
        return None
    parts = [part.strip() for part in channels.split(",")]
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise UsageError(f"--channels {channels}: give numbers from 1 on, such as 2 or 1,2")
    return tuple(int(part) for part in parts)


def names_of(text: str | None) -> tuple[str, ...] | None:
    """The names in `--channel-names`.

    Raises:
        UsageError: an empty one, or one twice.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"--channel-names {text}: a name is empty: give one for each channel")
    if len(set(names)) < len(names):
        raise UsageError(f"--channel-names {text}: a name comes twice: make them different")
    return names


def by_name(text: str, names: tuple[str, ...] | None) -> tuple[int, ...] | None:
    """The channels in `--analyse`, counted from 1; None for all of an unknown number.

    Raises:
        UsageError: no channel has that name, or they have none.
    """
    if text == "all":
        return None if names is None else tuple(range(1, len(names) + 1))
    if names is None:
        raise UsageError(f"--analyse {text}: name the channels with --channel-names first")
    asked = [name.strip() for name in text.split(",")]
    unknown = [name for name in asked if name not in names]
    if unknown:
        known = ", ".join(names)
        raise UsageError(f"--analyse {text}: no channel is named {unknown[0]!r}: there are {known}")
    return tuple(sorted({names.index(name) + 1 for name in asked}))
