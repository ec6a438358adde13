"""Where results go: atomic files, standard output, and which input belongs to which file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from voicetone.audio.find import display
from voicetone.errors import MissingExtraError, UsageError, VoicetoneError

PER_FILE = {
    "json": ".json",
    "rttm": ".rttm",
    "textgrid": ".TextGrid",
    "audacity": ".txt",
    "html": ".html",
}
TABLES = ("jsonl", "csv", "parquet")
BINARY = ("parquet",)
STDOUT = "-"


class OutputError(VoicetoneError):
    """A result that can't be written where it was asked for."""


def say(text: str) -> None:
    """Write to standard output; a reader that went away ends the program, without a word."""
    say_bytes(text.encode(sys.stdout.encoding or "utf-8", "replace"))


def complain(line: str) -> None:
    """One line on standard error, after the program's name."""
    with suppress(OSError, ValueError):
        print(f"voicetone: {display(line)}", file=sys.stderr, flush=True)


def say_bytes(data: bytes) -> None:
    """Like `say`, for the bytes of a format."""
    out = getattr(sys.stdout, "buffer", None)
    try:
        if out is None:  # replaced by something that takes text only
            sys.stdout.write(data.decode(sys.stdout.encoding or "utf-8", "replace"))
        else:
            sys.stdout.flush()
            out.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


@contextmanager
def written(place: Path) -> Iterator[None]:
    """Around what writes to a place by other means than `atomic`.

    Raises:
        OutputError: it can't be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{place}: can't be written ({error.strerror or error}): choose another place"
        ) from error


@contextmanager
def needing(verb: str, extra: str) -> Iterator[None]:
    """Around what imports more than the light package has.

    Raises:
        MissingExtraError: a package is not there; the verb and the extra to install are named.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "voicetone":
            raise
        raise MissingExtraError(f"voicetone {verb} ({missing})", extra) from error


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under its name when complete, or not at all.

    Raises:
        OutputError: it can't be written.
    """
    with written(path):
        if _is_device(path):  # nothing to rename onto
            with path.open("wb") as out:
                yield out
            return
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
        try:
            with part.open("wb") as out:
                yield out
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, atomically."""
    with atomic(path) as out:
        out.write(text.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True)
class Outputs:
    """What was asked for: format → path as typed, `-` is standard output."""

    wanted: Mapping[str, str]

    @property
    def stdout(self) -> str | None:
        """The format that goes to standard output."""
        return next((f for f, path in self.wanted.items() if path == STDOUT), None)

    @property
    def per_file(self) -> dict[str, str]:
        """Formats with one file per input."""
        return {f: path for f, path in self.wanted.items() if f in PER_FILE}

    @property
    def tables(self) -> dict[str, str]:
        """Formats with one file over all inputs."""
        return {f: path for f, path in self.wanted.items() if f in TABLES}

    def is_folder(self, name: str, many: bool) -> bool:
        """Does this format's path name a folder that takes one file per input?"""
        path = self.wanted[name]
        if path == STDOUT:
            return False
        typed_as_folder = path.endswith(("/", os.sep)) or Path(path).is_dir()
        return typed_as_folder or (many and not Path(path).suffix)

    def check(self, inputs: Sequence[Path], many: bool) -> None:
        """Refuse what can't work, before hours are spent on it.

        Raises:
            UsageError: two outputs share a place, one would overwrite an input, or one file is
                named for the results of several.
            OutputError: a folder can't be made or written to.
        """
        if sum(path == STDOUT for path in self.wanted.values()) > 1:
            raise UsageError("only one output can go to standard output (-)")
        taken = {_absolute(path) for path in inputs}
        for name, path in self.wanted.items():
            if path == STDOUT:
                if many and name in PER_FILE:
                    hint = "use --jsonl -" if name == "json" else "name a folder"
                    raise UsageError(f"--{name} -: takes one input, here are several: {hint}")
                continue
            folder = name in PER_FILE and self.is_folder(name, many)
            if many and name in PER_FILE and not folder:
                hint = ", or use --jsonl for one file" if name == "json" else ""
                raise UsageError(
                    f"--{name} {path}: several inputs need a folder, end it with /{hint}"
                )
            if not folder:
                if _is_device(Path(path)):
                    continue
                _claim(f"--{name} {path}", Path(path), taken)
            _prepare(Path(path) if folder else Path(path).parent)

    def targets(
        self, inputs: Sequence[Path], arguments: Sequence[str], many: bool
    ) -> list[dict[str, Path]]:
        """For each input, format → path of its own file, leaving out standard output."""
        names = own_names(inputs, arguments)
        out: list[dict[str, Path]] = [{} for _ in inputs]
        for name, path in self.per_file.items():
            if path == STDOUT:
                continue
            folder = self.is_folder(name, many)
            for i, own in enumerate(names):
                suffix = PER_FILE[name]
                out[i][name] = Path(path) / f"{own}{suffix}" if folder else Path(path)
        return out


def own_names(inputs: Sequence[Path], arguments: Sequence[str]) -> list[str]:
    """A relative name without suffix for each input, all different.

    A file found in a folder argument keeps its sub-folders; where that gives one name to several
    inputs, these get their full name below the folder that all inputs share.
    """
    roots = [Path(argument) for argument in arguments if Path(argument).is_dir()]
    names = [_short_name(path, roots) for path in inputs]
    # Case is ignored: on many disks A.json and a.json are one file.
    if len({name.lower() for name in names}) == len(names):
        return names
    counts: dict[str, int] = {}
    for name in names:
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    absolute = [_absolute(path) for path in inputs]
    shared = Path(os.path.commonpath([path.parent for path in absolute]))
    full = [str(path.relative_to(shared)) for path in absolute]
    mixed = [f if counts[n.lower()] > 1 else n for n, f in zip(names, full, strict=True)]
    return mixed if len({name.lower() for name in mixed}) == len(mixed) else full


def _short_name(path: Path, roots: Sequence[Path]) -> str:
    if str(path) == STDOUT:
        return "stdin"
    for root in roots:
        if path.is_relative_to(root):
            relative = path.relative_to(root)
            return str(relative.with_name(relative.stem))
    return path.stem


def _is_device(path: Path) -> bool:
    """A terminal, a pipe, /dev/null."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _claim(what: str, path: Path, taken: set[Path]) -> None:
    absolute = _absolute(path)
    if absolute in taken:
        raise UsageError(f"{what}: would overwrite an input or another output: choose another")
    if absolute.is_dir():
        raise UsageError(f"{what}: is a folder: name a file")
    taken.add(absolute)


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: can't be made ({error.strerror or error}): choose another place"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: can't be written to: choose another place")
