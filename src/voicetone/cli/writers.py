"""A result in the formats that other programs read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from voicetone.cli.tracks import Stretch, display_name, file_stretches, top
from voicetone.types import FileResult, Window

LabelSpaces = Mapping[str, Sequence[str]]
UNSURE = "unsure"


def rttm(result: FileResult, sure_from: float) -> str:
    """NIST RTTM: one SPEAKER line per stretch of speech, named `<channel name>:<sentiment>`.

    The confidence column holds the sentiment's probability.
    """
    name = _word(Path(result.file).stem)
    lines = []
    for channel, found in file_stretches(result, sure_from):
        party = _word(display_name(channel))
        for s in found:
            score = "<NA>" if s.score is None else f"{s.score:.4f}"
            lines.append(
                f"SPEAKER {name} {channel.channel} {s.start:.3f} {s.end - s.start:.3f} "
                f"<NA> <NA> {party}:{s.sentiment or UNSURE} {score} <NA>\n"
            )
    return "".join(lines)


def audacity(result: FileResult, sure_from: float) -> str:
    """Audacity's label track: start, end and `customer: negative 0.83 (anger)`, tab-separated."""
    rows = [
        (s.start, s.end, f"{display_name(channel)}: {_words(s)}")
        for channel, found in file_stretches(result, sure_from)
        for s in found
    ]
    return "".join(
        f"{start:.6f}\t{end:.6f}\t{_one_line(label)}\n" for start, end, label in sorted(rows)
    )


def textgrid(result: FileResult, sure_from: float) -> str:
    """Praat's long TextGrid: per channel a tier of sentiment and one of emotion."""
    tiers: list[tuple[str, list[tuple[float, float, str]]]] = []
    for channel, found in file_stretches(result, sure_from):
        party = display_name(channel)
        for space in ("sentiment", "emotion"):
            spoken = [
                (s.start, s.end, (s.sentiment or UNSURE) if space == "sentiment" else s.emotion)
                for s in found
            ]
            tiers.append((f"{party} {space}", _tile(spoken, result.duration)))
    end = _number(result.duration)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += ["xmin = 0 ", f"xmax = {end} ", "tiers? <exists> ", f"size = {len(tiers)} "]
    lines += ["item []: "]
    for i, (title, intervals) in enumerate(tiers, 1):
        lines += [f"    item [{i}]:", '        class = "IntervalTier" ']
        lines += [
            f"        name = {_quoted(title)} ",
            "        xmin = 0 ",
            f"        xmax = {end} ",
        ]
        lines += [f"        intervals: size = {len(intervals)} "]
        for j, (start, stop, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{j}]:",
                f"            xmin = {_number(start)} ",
                f"            xmax = {_number(stop)} ",
                f"            text = {_quoted(text)} ",
            ]
    return "\n".join(lines) + "\n"


TRACKS: dict[str, Callable[[FileResult, float], str]] = {
    "rttm": rttm,
    "textgrid": textgrid,
    "audacity": audacity,
}


def columns(spaces: LabelSpaces) -> list[str]:
    """The columns of the CSV and Parquet tables."""
    names = ["file", "channel", "name", "start", "end", "speech", "speech_seconds"]
    for space in ("sentiment", "emotion"):
        names += [space, *(f"{space}_{label}" for label in spaces[space])]
    return [*names, "estimated"]


def rows(result: FileResult, spaces: LabelSpaces, sure_from: float) -> Iterator[dict[str, Any]]:
    """One row per window; unknown is None."""
    for channel in result.channels:
        for window in channel.windows:
            row: dict[str, Any] = {
                "file": result.file,
                "channel": channel.channel,
                "name": channel.name,
                "start": round(window.start, 3),
                "end": round(window.end, 3),
                "speech": window.speech,
                "speech_seconds": round(window.speech_seconds, 3),
            }
            yield row | _scores(window, spaces, sure_from) | {"estimated": channel.estimated}


def write_csv(
    out: IO[bytes], results: Iterable[FileResult], spaces: LabelSpaces, sure_from: float
) -> None:
    """One CSV over all results, UTF-8, with a header; unknown is empty."""
    text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="")
    writer = csv.DictWriter(text, columns(spaces), lineterminator="\n")
    writer.writeheader()
    for result in results:
        for row in rows(result, spaces, sure_from):
            flags = {name: str(row[name]).lower() for name in ("speech", "estimated")}
            writer.writerow(row | flags)
    text.flush()
    text.detach()


def write_parquet(
    out: IO[bytes], results: Iterable[FileResult], spaces: LabelSpaces, sure_from: float
) -> None:
    """The same table as Parquet, a row group per batch of results.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = require_parquet()
    kinds = {"file": pa.string(), "name": pa.string(), "speech": pa.bool_()}
    kinds |= {"estimated": pa.bool_()}
    kinds |= {"channel": pa.int16(), "sentiment": pa.string(), "emotion": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns(spaces)])
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for result in results:
            batch += [row | _utf8(row) for row in rows(result, spaces, sure_from)]
            if len(batch) >= 10_000:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))


def require_parquet() -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        from voicetone.errors import MissingExtraError

        raise MissingExtraError("--parquet", "data") from None
    return pyarrow, pyarrow.parquet


def _scores(window: Window, spaces: LabelSpaces, sure_from: float) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for space, scores in (("sentiment", window.sentiment), ("emotion", window.emotion)):
        out[space] = top(scores, sure_from if space == "sentiment" else 0.0)
        for label in spaces[space]:
            value = None if scores is None else scores.get(label)
            out[f"{space}_{label}"] = None if value is None else round(value, 4)
    return out


def _utf8(row: Mapping[str, Any]) -> dict[str, str]:
    # A file name need not be UTF-8; a Parquet string must be.
    return {"file": row["file"].encode("utf-8", "replace").decode("utf-8")}


def _words(stretch: Stretch) -> str:
    label = stretch.sentiment or UNSURE
    if stretch.score is not None:
        label += f" {stretch.score:.2f}"
    return f"{label} ({stretch.emotion})" if stretch.emotion else label


def _tile(
    spoken: Sequence[tuple[float, float, str | None]], duration: float
) -> list[tuple[float, float, str]]:
    """Intervals from 0 to `duration` without a gap, as Praat asks."""
    tiles: list[tuple[float, float, str]] = []
    at = 0.0
    for start, end, text in spoken:
        if _number(start) != _number(at):
            tiles.append((at, start, ""))
        tiles.append((start, end, text or ""))
        at = end
    if _number(at) != _number(duration) or not tiles:
        tiles.append((at, duration, ""))
    return tiles


def _number(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    # Praat doubles a quotation mark inside a string, which not every reader knows.
    return '"' + _one_line(text).replace('"', "'") + '"'


def _one_line(text: str) -> str:
    return re.sub(r"[\s\x00-\x1f]+", " ", text)


def _word(text: str) -> str:
    return re.sub(r"[\s\x00-\x1f]+", "_", text) or "_"
