"""`voicetone`: the verbs together, and what happens when one of them fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from voicetone.cli.analyze import HELP, analyze
from voicetone.cli.augment import HELP as AUGMENT
from voicetone.cli.augment import augment
from voicetone.cli.compare import compare
from voicetone.cli.corpus import corpus
from voicetone.cli.doctor import doctor
from voicetone.cli.evaluate import HELP as EVALUATE
from voicetone.cli.evaluate import evaluate
from voicetone.cli.features import HELP as FEATURES
from voicetone.cli.features import features
from voicetone.cli.latents import HELP as LATENTS
from voicetone.cli.latents import latents
from voicetone.cli.leaderboard import leaderboard
from voicetone.cli.live import HELP as LIVE
from voicetone.cli.live import live
from voicetone.cli.models import models
from voicetone.cli.output import complain, say
from voicetone.cli.personal import HELP as PERSONAL
from voicetone.cli.personal import personal
from voicetone.cli.pretrain import pretrain
from voicetone.cli.pseudolabel import HELP as PSEUDOLABEL
from voicetone.cli.pseudolabel import pseudolabel
from voicetone.cli.robustness import HELP as ROBUSTNESS
from voicetone.cli.robustness import robustness
from voicetone.cli.serve import HELP as SERVE
from voicetone.cli.serve import serve
from voicetone.cli.synthesize import HELP as SYNTHESIZE
from voicetone.cli.synthesize import synthesize
from voicetone.cli.train import train
from voicetone.errors import VoicetoneError

INTERRUPTED = 130
DEFECT = 1

app = typer.Typer(
    name="voicetone",
    help="Speech emotion and voice-tone analysis of recordings.",
    epilog="Exit codes: 0 every file analysed, 2 wrong usage, 3 something failed, "
    "4 an extra is missing, 130 interrupted.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(help=HELP)(analyze)
app.add_typer(models)
app.add_typer(corpus)
app.command()(doctor)
app.command(help=FEATURES)(features)
app.command()(train)
app.command()(pretrain)
app.command(help=EVALUATE)(evaluate)
app.command()(compare)
app.command()(leaderboard)
app.command(help=PERSONAL)(personal)
app.command(help=ROBUSTNESS)(robustness)
app.command(help=AUGMENT)(augment)
app.command(help=LATENTS)(latents)
app.command(help=SYNTHESIZE)(synthesize)
app.command(help=PSEUDOLABEL)(pseudolabel)
app.command(help=SERVE)(serve)
app.command(help=LIVE)(live)


def _version(wanted: bool) -> None:
    if wanted:
        from voicetone import __version__

        say(f"voicetone {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error.")
    ] = False,
) -> None:
    context.obj = {"debug": debug}
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error becomes one line.

    Args:
        arguments: without the program's name.
    """
    debug = "--debug" in arguments
    try:
        code = app(args=list(arguments), prog_name="voicetone", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except VoicetoneError as error:
        _trace(debug)
        complain(str(error))
        return error.exit_code
    except typer.TyperException as error:
        _trace(debug)
        complain(f"{_sentence(error.format_message())}: see voicetone --help")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:  # a defect of ours: the user still gets one line
        _trace(debug)
        line = f"unexpected {type(error).__name__}: {error}"
        complain(" ".join(f"{line}: run it again with --debug and report it".split()))
        return DEFECT


def main() -> None:
    """The installed command."""
    sys.exit(run(sys.argv[1:]))


def _trace(wanted: bool) -> None:
    if wanted:
        import traceback

        traceback.print_exc()


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


if __name__ == "__main__":
    main()
