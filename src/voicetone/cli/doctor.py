"""`voicetone doctor`: is everything there that an analysis needs?"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import typer

from voicetone.cli.jobs import cores
from voicetone.cli.output import say
from voicetone.errors import VoicetoneError

NEEDED = ("numpy", "soundfile", "soxr", "onnxruntime", "typer", "rich", "pydantic", "jinja2")
# The packages that tell whether an extra is there, by the names they are imported under.
EXTRAS = {
    "data": ("pyarrow",),
    "report": ("matplotlib", "sklearn", "scipy"),
    "train": ("torch", "sklearn", "onnx"),
    "opensmile": ("opensmile",),
    "ssl": ("transformers", "tokenizers"),
    "label": ("pocketsphinx", "vaderSentiment"),
    "serve": ("fastapi", "uvicorn", "websockets"),
}


def doctor() -> None:
    """Check the installation: packages, models, extras. Exit code 3 if something is wrong."""
    healthy = True
    for good, line in _report():
        healthy = healthy and good
        say(f"{'ok ' if good else 'BAD'}  {line}\n")
    if not healthy:
        raise typer.Exit(3)


def _report() -> Iterator[tuple[bool, str]]:
    from voicetone import __version__

    yield True, f"voicetone {__version__}, {Path(__file__).parents[1]}"
    new_enough = sys.version_info >= (3, 11)
    hint = "" if new_enough else ": 3.11 or newer is needed"
    where = f"{platform.system()} {platform.machine()}"
    yield new_enough, f"Python {platform.python_version()} on {where}{hint}"
    yield from _packages()
    yield from _models()
    for extra, names in EXTRAS.items():
        missing = [name for name in names if find_spec(name) is None]
        if missing:
            yield True, f"[{extra}] not installed, lacks {', '.join(missing)} (optional)"
        else:
            yield True, f"[{extra}] installed"
    yield True, f"{cores()} processor cores; an analysis uses one thread unless told otherwise"
    yield _data()


def _packages() -> Iterator[tuple[bool, str]]:
    for name in NEEDED:
        try:
            yield True, f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield False, f"{name} is missing: pip install voicetone again"
    try:
        import soundfile

        yield True, f"libsndfile {soundfile.__libsndfile_version__}"
    except (ImportError, OSError) as error:
        yield False, f"libsndfile can't be loaded ({error}): pip install soundfile again"


def _models() -> Iterator[tuple[bool, str]]:
    from voicetone.pretrained import installed, load

    found = installed()
    if not found:
        yield False, "no model is installed: install voicetone-tone-small"
    for name, folder in found.items():
        try:
            yield True, f"model {load(folder).spec.id} is verified and runs, {folder}"
        except VoicetoneError as error:
            yield False, f"model {name}: {error}"


def _data() -> tuple[bool, str]:
    folder = os.environ.get("VOICETONE_DATA")
    if not folder:
        return True, "VOICETONE_DATA is not set (only training and its tests need it)"
    if Path(folder).is_dir():
        return True, f"VOICETONE_DATA is {folder}"
    return False, f"VOICETONE_DATA is {folder}, which is no folder: correct or unset it"
