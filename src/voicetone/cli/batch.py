"""One run of `voicetone analyze` over its inputs: what is left to do, do it, write it."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicetone.audio.find import STDIN, find_audio
from voicetone.cli import writers
from voicetone.cli.enrolling import Enrolling, known
from voicetone.cli.jobs import Outcome, Settings, cores, run
from voicetone.cli.journal import Journal, fingerprint, to_json
from voicetone.cli.output import (
    BINARY,
    STDOUT,
    OutputError,
    Outputs,
    atomic,
    complain,
    say,
    say_bytes,
)
from voicetone.cli.progress import ProgressBar
from voicetone.cli.transcripts import heard
from voicetone.errors import VoicetoneError
from voicetone.types import FileResult, Floats

if TYPE_CHECKING:
    from voicetone.audio.decode import RawFormat
    from voicetone.pretrained import BundleSpec
    from voicetone.pretrained.predictor import Predictor

FULL_TABLES = 4  # recordings up to which each is shown in full
MOST_ROWS = 1_000  # recordings in the summary on the terminal


@dataclass(frozen=True, slots=True)
class Request:
    """All that the command line asked for."""

    paths: tuple[str, ...]
    outputs: Outputs
    settings: Settings
    jobs: int | None
    force: bool
    quiet: bool
    enrol: Enrolling = field(default_factory=Enrolling)
    transcripts: tuple[tuple[int, Path], ...] = ()  # by channel


@dataclass(frozen=True, slots=True)
class Model:
    """The model of a run, loaded where this process needs it."""

    spec: BundleSpec
    digest: str  # of bundle.json, which holds the hashes of the rest
    predictor: Predictor | None

    @property
    def sure_from(self) -> float:
        return self.spec.dont_know.sentiment

    @property
    def spaces(self) -> dict[str, list[str]]:
        labels = self.spec.label_spaces
        return {"sentiment": labels.sentiment, "emotion": labels.emotion}


def run_batch(request: Request) -> int:
    """Analyse, write, show; the exit code: 0, or 3 (for a single input its own) on failure.

    Raises:
        VoicetoneError: nothing could be analysed at all: usage, model, inputs, outputs.
    """
    inputs = find_audio(request.paths, raw=request.settings.raw is not None)
    many = len(inputs) > 1 or any(Path(p).is_dir() for p in request.paths)
    if request.outputs.wanted.get("parquet"):
        writers.require_parquet()
    request.outputs.check(inputs, many)
    words = heard(request.transcripts, len(inputs))
    settings = replace(request.settings, transcripts=words.transcripts, said=words.fingerprint)
    request = replace(request, settings=settings)
    jobs = _jobs(request, inputs)
    model = _model(request.settings, load_now=jobs == 1)
    if not request.quiet and model.spec.notice:
        complain(model.spec.notice)
    request = _with_voices(request, model)
    path, temporary = _journal_place(request.outputs, many)
    with Journal(path, temporary=temporary, fresh=request.force) as journal:
        batch = Batch(request, inputs, many, model, journal)
        try:
            return batch.run(jobs)
        except KeyboardInterrupt:
            if path is not None:
                complain("interrupted: the same command goes on from here")
            raise


class Batch:
    """The inputs of a run with the places of their outputs."""

    def __init__(
        self, request: Request, inputs: list[Path], many: bool, model: Model, journal: Journal
    ) -> None:
        self.request = request
        self.outputs = request.outputs
        self.inputs = inputs
        self.many = many
        self.model = model
        self.journal = journal
        self.files = [str(path) for path in inputs]
        self.targets = request.outputs.targets(inputs, request.paths, many)
        settings = f"{model.digest} {request.settings.text()}"
        self.prints = [fingerprint(path, settings) for path in inputs]
        self.good: set[str] = set()  # files that have a result
        self.codes: list[int] = []  # of the inputs that failed

    def run(self, jobs: int) -> int:
        """Everything; returns the exit code."""
        with ProgressBar(len(self.inputs), self.request.quiet) as bar:
            todo = self._resume(bar)
            done = len(self.inputs) - len(todo) - len(self.codes)
            if done and not self.request.quiet:
                complain(
                    f"{done:,} of {len(self.inputs):,} recordings were analysed before: "
                    "--force does it again"
                )
            work = [(i, self.inputs[i]) for i in todo]
            outcomes = run(work, self.request.settings, jobs, bar.part, self.model.predictor)
            with closing(outcomes):
                for outcome in outcomes:
                    bar.done(outcome.index)
                    self._take(outcome)
        good = [file for file in self.files if file in self.good]
        self._write_tables(good)
        self.journal.finish(self.files)
        self._show(good)
        return self._exit_code()

    def _resume(self, bar: ProgressBar) -> list[int]:
        """Bring the outputs of inputs that are done up to date; the indices of the others."""
        todo = []
        for i, file in enumerate(self.files):
            if not self.journal.holds(file, self.prints[i]) and not self._from_folder(i):
                todo.append(i)
                continue
            try:
                self._refresh(i)
                self.good.add(file)
            except VoicetoneError as error:
                self._fail(str(error), error.exit_code)
            bar.done(i)
        return todo

    def _from_folder(self, i: int) -> bool:
        """Take over the result that an earlier run left in the --json folder."""
        target = self.targets[i].get("json")
        if self.request.force or target is None or not self.many or self.prints[i] is None:
            return False
        try:
            data = json.loads(target.read_bytes())
            if data["fingerprint"] != self.prints[i] or data["file"] != self.files[i]:
                return False
            FileResult.from_dict(data)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self.journal.add(data)
        return True

    def _refresh(self, i: int) -> None:
        data = self.journal.data(self.files[i])
        page = self.targets[i].get("html")
        peaks = None
        if page is not None and not _shows(page, data):
            peaks = read_peaks(
                self.inputs[i],
                self.request.settings.raw,
                [channel["channel"] for channel in data["channels"]],
                data.get("split"),
            )
        self._write_own(i, data, peaks, picture=peaks is not None)
        self._stream(data)

    def _take(self, outcome: Outcome) -> None:
        if outcome.trace:
            print(outcome.trace, file=sys.stderr)
        if outcome.result is None:
            self._fail(outcome.error or "failed", outcome.exit_code)
            return
        data = outcome.result.to_dict() | {"file": self.files[outcome.index]}
        if (print_ := self.prints[outcome.index]) is not None:
            data["fingerprint"] = print_
        try:
            self._write_own(outcome.index, data, outcome.peaks, picture=True)
        except OutputError as error:
            self._fail(str(error), error.exit_code)
            return
        self.journal.add(data)
        self.good.add(data["file"])
        self._stream(data)

    def _stream(self, data: dict[str, Any]) -> None:
        if self.outputs.stdout == "jsonl":
            say_bytes(to_json(data) + b"\n")

    def _write_own(
        self, i: int, data: dict[str, Any], peaks: Floats | None, *, picture: bool
    ) -> None:
        """The outputs that are this input's own. JSON comes last: it says that all are there."""
        result = FileResult.from_dict(data)
        names = sorted(self.outputs.per_file, key=lambda name: name == "json")
        for name in names:
            if name == "html" and not picture:
                continue
            target = self.targets[i].get(name)
            if name == "html":
                content = self._page(result, peaks, self.inputs[i], target) + _mark(data)
            elif name == "json":
                content = to_json(data, indent=2) + b"\n"
            else:
                text = writers.TRACKS[name](result, self.model.sure_from)
                content = text.encode("utf-8", "replace")
            if target is None:
                say_bytes(content)
                continue
            with atomic(target) as out:
                out.write(content)

    def _page(
        self, result: FileResult, peaks: Floats | None, audio: Path, target: Path | None
    ) -> bytes:
        from voicetone.evaluation.call_report import render

        page = render(
            result,
            spec=self.model.spec.model_dump(mode="json"),
            peaks=peaks,
            audio=None if audio == STDIN else audio,
            folder=None if target is None else target.resolve().parent,
        )
        return page.encode("utf-8", "replace")

    def _write_tables(self, good: list[str]) -> None:
        for name, path in self.outputs.tables.items():
            if name == "jsonl":
                continue
            write = writers.write_parquet if name in BINARY else writers.write_csv
            results = self.journal.results(good)
            if path == STDOUT:
                buffer = io.BytesIO()
                write(buffer, results, self.model.spaces, self.model.sure_from)
                say_bytes(buffer.getvalue())
                continue
            with atomic(Path(path)) as out:
                write(out, results, self.model.spaces, self.model.sure_from)

    def _fail(self, line: str, code: int) -> None:
        self.codes.append(code)
        complain(line)

    def _show(self, good: list[str]) -> None:
        """Tables for people: on standard error when standard output is taken by a format."""
        if len(self.codes) and self.many:
            complain(f"{len(self.codes):,} of {len(self.inputs):,} recordings failed")
        if self.request.quiet or not good:
            return
        from voicetone.cli import terminal

        stream = sys.stdout if self.outputs.stdout is None else sys.stderr
        for text in self._tables(good, terminal, stream):
            if stream is sys.stdout:
                say(text)
            else:
                print(text, end="", file=stream)

    def _tables(self, good: list[str], terminal: Any, stream: Any) -> Iterator[str]:
        if len(good) <= FULL_TABLES:
            for result in self.journal.results(good):
                yield terminal.show(result, self.model.sure_from, stream)
            return
        yield terminal.summary(self.journal.results(good[:MOST_ROWS]), stream)
        if len(good) > MOST_ROWS:
            yield f"… and {len(good) - MOST_ROWS:,} more\n"

    def _exit_code(self) -> int:
        if not self.codes:
            return 0
        # A single input with a wrong option is wrong usage; among many it is one that failed.
        return self.codes[0] if len(self.inputs) == 1 else 3


def read_peaks(
    path: Path,
    raw: RawFormat | None,
    channels: list[int],
    split: Mapping[str, Any] | None = None,
) -> Floats:
    """The outline of a recording whose result is known already, of these channels.

    Args:
        path: of the recording.
        raw: what headerless audio is.
        channels: from 1.
        split: who spoke when, where they are the parties of one channel.
    """
    from voicetone.audio.decode import open_audio
    from voicetone.inference.channels import rows_of
    from voicetone.inference.overview import Overview
    from voicetone.inference.split_file import PartyMask

    overview, rows = Overview(), rows_of(channels)
    with open_audio(path, raw) as source:
        mask = PartyMask(split["turns"], source.rate) if split and split["turns"] else None
        for block in source.blocks():
            first = source.position - block.shape[1]
            overview.push(block[rows] if mask is None else mask.rows(block[rows[0]], first))
    return overview.peaks()


def _jobs(request: Request, inputs: list[Path]) -> int:
    if STDIN in inputs:  # only this process has the standard input
        return 1
    return min(request.jobs or cores(), len(inputs))


def _model(settings: Settings, *, load_now: bool) -> Model:
    from voicetone.pretrained import load, verify
    from voicetone.pretrained.bundle import find

    folder = find(settings.model)
    predictor = load(folder, threads=settings.threads) if load_now else None
    spec = verify(folder) if predictor is None else predictor.spec
    spec.require_extras()  # once, and not by every process for every file
    digest = hashlib.sha256(spec.model_dump_json(exclude_defaults=True).encode()).hexdigest()
    return Model(spec, digest, predictor)


def _with_voices(request: Request, model: Model) -> Request:
    """The request with the voices that it names, which are enrolled once."""

    def opened() -> Predictor:
        from voicetone.pretrained import load

        return model.predictor or load(request.settings.model)

    voices = known(request.enrol, opened)
    for line in voices.warnings:
        complain(line)
    settings = replace(request.settings, speakers=voices.speakers, enrolled=voices.fingerprint)
    return replace(request, settings=settings)


def _journal_place(outputs: Outputs, many: bool) -> tuple[Path | None, bool]:
    """Where the results of the run are kept, and whether only until it is complete."""
    jsonl = outputs.wanted.get("jsonl")
    if jsonl is not None and jsonl != STDOUT:
        return Path(jsonl), False
    first = next(((n, p) for n, p in outputs.wanted.items() if p != STDOUT), None)
    if not many or first is None:
        return None, False
    name, path = first
    if name in outputs.per_file and outputs.is_folder(name, many):
        return Path(path) / "voicetone.partial.jsonl", True
    return Path(f"{path}.partial.jsonl"), True


def _mark(data: dict[str, Any]) -> bytes:
    """What ends a page: which result it shows."""
    return b"<!-- result " + hashlib.sha256(to_json(data)).hexdigest().encode() + b" -->\n"


def _shows(page: Path, data: dict[str, Any]) -> bool:
    """Is this the page of this very result?"""
    mark = _mark(data)
    try:
        with page.open("rb") as file:
            file.seek(0, io.SEEK_END)
            file.seek(max(0, file.tell() - len(mark)))
            return file.read() == mark
    except OSError:
        return False
