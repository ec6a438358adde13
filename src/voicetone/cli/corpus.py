"""`voicetone corpus`: from a folder to a manifest, what is wrong with it, what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicetone.cli.output import complain, say, write_text, written
from voicetone.cli.progress import ProgressBar
from voicetone.cli.terminal import clock
from voicetone.errors import DataError, UsageError

if TYPE_CHECKING:
    from voicetone.corpora.audit import Heard
    from voicetone.corpora.manifest import Manifest, Problem
    from voicetone.corpora.stats import Stats

OTHER_SOURCES = ("table", "audformat", "emobox", "prepared")
FORMATS = ("manifest", "audformat", "emobox")
MOST_NAMED = 3  # rows of which the same is said
WIDEST = 12  # labels beside each other in the table of speakers

corpus = typer.Typer(name="corpus", help="Prepare, check and describe labelled speech.")
ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help=".csv, .tsv or .parquet.")]
JsonPath = Annotated[
    str | None, typer.Option("--json", metavar="PATH", help="Write it as JSON; - is the output.")
]


@corpus.callback(invoke_without_command=True)
def _corpus(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@corpus.command("list")
def list_corpora() -> None:
    """List the corpora that can be read, and the label rules."""
    from voicetone.corpora.registry import CORPORA
    from voicetone.corpora.rules import RULES

    say("Corpora\n")
    for name, known in CORPORA.items():
        totals = f"{known.releases[-1].utterances:,} utterances"
        say(f"  {name:<12} {known.title:<18} {totals:<20} {known.licence}\n")
    say(f"Other sources\n  {', '.join(OTHER_SOURCES)}\nLabel rules\n")
    for name, rule in RULES.items():
        say(f"  {name:<22} {rule.about}\n")


@corpus.command("prepare")
def prepare(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A corpus, or table, audformat, emobox, prepared.")
    ],
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Its folder or table.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="The manifest: .csv, .tsv or .parquet.")
    ],
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="NAME", help="Label by this rule.")
    ] = None,
    form: Annotated[
        str, typer.Option("--as", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")
    ] = "manifest",
    licence: Annotated[str, typer.Option(help="Of a table or folder that says none.")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="OURS=THEIRS", help="A table's own name of a column; repeatable."),
    ] = None,
    speaker: Annotated[
        str, typer.Option(metavar="REGEX", help="Finds the speaker in EmoBox's keys.")
    ] = "",
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What EmoBox's paths start from.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't read the recordings: no durations, no hashes.")
    ] = False,
) -> None:
    """Make a manifest from a corpus's folder or from any table."""
    from voicetone.corpora.audit import with_facts
    from voicetone.corpora.manifest import Problem
    from voicetone.corpora.rules import rule as find_rule

    if form not in FORMATS:
        raise UsageError(f"--as {form}: no such format: use {', '.join(FORMATS)}")
    chosen = None if rule is None else find_rule(rule)
    manifest, problems = _read(name, source, licence, _columns(column), speaker, root)
    if mistakes := [problem for problem in problems if problem.severity == "error"]:
        for problem in mistakes:
            complain(str(problem))
        raise DataError(f"{out}: not written: mend the table first, {_count(mistakes, 'error')}")
    if chosen is not None:
        manifest = chosen.apply(manifest)
    if not quick:
        heard = _hear(manifest)
        manifest = with_facts(manifest, heard)
        for index, utterance in enumerate(manifest):
            error = heard[utterance.audio].error if utterance.audio in heard else None
            if error:
                problems.append(Problem(manifest.place(index), error))
    _write(manifest, out, form)
    say(f"{out}: {_summary(manifest)}\n")
    for problem in problems:
        complain(str(problem))
    if problems:
        raise typer.Exit(DataError.exit_code)


@corpus.command("check")
def check(
    path: ManifestPath,
    licence: Annotated[str, typer.Option(help="Of a table that says none.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't read the recordings: the table only.")
    ] = False,
    as_json: JsonPath = None,
) -> None:
    """Name every problem by file and line; compare the totals with the official release."""
    from voicetone.corpora.audit import audit, with_facts
    from voicetone.corpora.stats import stats
    from voicetone.corpora.tables import inspect_manifest

    manifest, problems = inspect_manifest(path, licence=licence)
    if len(manifest):
        problems += manifest.validate(contents=False)
    if not quick:
        heard = _hear(manifest)
        problems += audit(manifest, heard)
        manifest = with_facts(manifest, heard)
    totals = list(_totals(manifest))
    counted = stats(manifest)
    errors = [problem for problem in problems if problem.severity == "error"]
    warnings = [problem for problem in problems if problem.severity != "error"]
    if as_json is not None:
        found = [
            {"place": p.place, "text": p.text, "severity": p.severity} for p in problems
        ]  # fmt: skip
        _json({"problems": found, "totals": totals, **counted.to_dict()}, as_json)
    if as_json != "-":
        say("".join(f"{line}\n" for line in (_summary(manifest), "", *_tables(counted), *totals)))
        say("".join(f"{line}\n" for line in _grouped([*errors, *warnings])))
        say(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}\n")
    if errors:
        raise typer.Exit(DataError.exit_code)


@corpus.command("stats")
def show_stats(
    path: ManifestPath,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw them as PNG into this folder.")
    ] = None,
    as_json: JsonPath = None,
) -> None:
    """Count labels, speakers and seconds, and measure how far raters agree."""
    from voicetone.corpora.stats import stats
    from voicetone.corpora.tables import read_manifest

    manifest = read_manifest(path)
    counted = stats(manifest)
    if as_json is not None:
        _json(counted.to_dict(), as_json)
    if as_json != "-":
        lines = (_summary(manifest), "", *_tables(counted), *_more(counted))
        say("".join(f"{line}\n" for line in lines))
    if figures is not None:
        from voicetone.corpora.figures import draw

        with written(figures):
            drawn = draw(manifest, figures)
        if as_json != "-":
            say("".join(f"{picture}\n" for picture in drawn))


def _read(
    name: str,
    source: Path,
    licence: str,
    columns: Mapping[str, str],
    speaker: str,
    root: Path | None,
) -> tuple[Manifest, list[Problem]]:
    from voicetone.corpora.audformat import read_audformat
    from voicetone.corpora.emobox import read_emobox
    from voicetone.corpora.prepared import CORPORA as PREPARED
    from voicetone.corpora.prepared import read_prepared
    from voicetone.corpora.registry import read_corpus
    from voicetone.corpora.tables import inspect_manifest

    if columns and name not in ("table", "audformat"):
        raise UsageError("--column: is for table and audformat: other sources have fixed names")
    if name == "table":
        return inspect_manifest(source, columns=columns, licence=licence)
    if name == "audformat":
        return read_audformat(source, columns=columns, licence=licence)
    if name == "emobox":
        return read_emobox(source, root=root, licence=licence, speaker=speaker)
    if name == "prepared":
        known = source.name in PREPARED and not licence
        inside = read_prepared(source.name, source.parent) if known else None
        return inside or read_prepared(str(source), licence=licence), []
    return read_corpus(name, source), []


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _grouped(problems: Sequence[Problem]) -> Iterator[str]:
    """A line each, and one for many rows of which the same is said."""
    same: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        same.setdefault((problem.severity, problem.text), []).append(problem)
    for (severity, text), found in same.items():
        if len(found) > MOST_NAMED:
            where = f"{len(found):,} rows, the first is {found[0].place}"
            yield f"{severity}: {where}: {text}"
        else:
            yield from (f"{severity}: {problem}" for problem in found)


def _columns(pairs: Sequence[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or ():
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UsageError(f"--column {pair}: not of the form ours=theirs, as in emotion=mood")
        found[ours] = theirs
    return found


def _hear(manifest: Manifest) -> dict[Path, Heard]:
    from voicetone.corpora.audit import hear_all

    with ProgressBar(len({u.audio for u in manifest})) as bar:
        return hear_all(manifest, bar.done)


def _write(manifest: Manifest, out: Path, form: str) -> None:
    from voicetone.corpora.audformat import write_audformat
    from voicetone.corpora.emobox import write_emobox
    from voicetone.corpora.tables import write_manifest

    writers = {"manifest": write_manifest, "audformat": write_audformat, "emobox": write_emobox}
    with written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        writers[form](manifest, out)


def _json(value: Mapping[str, Any], path: str) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    if path == "-":
        say(text)
    else:
        write_text(Path(path), text)


def _summary(manifest: Manifest) -> str:
    seconds = [u.duration for u in manifest]
    length = clock(sum(s for s in seconds if s is not None)) if None not in seconds else "unknown"
    return (
        f"{manifest.corpus} ({manifest.version}), {len(manifest):,} utterances, "
        f"{len(manifest.speakers):,} speakers, length {length}, "
        f"label rule {manifest.rule or 'none'}, licence {manifest.licence}"
    )


def _totals(manifest: Manifest) -> Iterator[str]:
    """How the manifest differs from the corpus's release, and from what its rule must give."""
    from voicetone.corpora.registry import CORPORA
    from voicetone.corpora.rules import RULES

    known = CORPORA.get(manifest.corpus)
    rule = RULES.get(manifest.rule)
    if rule is not None and rule.totals:
        differences = list(rule.differences(manifest))
        yield f"Label rule {rule.name}: {_verdict(differences, 'totals as published')}"
    elif rule is None and known is not None:
        release = known.closest(manifest)
        differences = list(release.differences(manifest))
        yield f"{known.title} {release.version}: {_verdict(differences, 'totals as released')}"


def _verdict(differences: Sequence[str], agreed: str) -> str:
    return f"not complete: {'; '.join(differences)}" if differences else agreed


def _tables(counted: Stats) -> Iterator[str]:
    """Labels with their length, then speakers by label."""
    rows: list[list[str]] = [["label", "utterances", "length"]]
    for label, count in counted.labels.items():
        seconds = counted.label_seconds.get(label)
        rows.append([label, f"{count:,}", "" if seconds is None else clock(seconds)])
    yield from _aligned(rows)
    yield ""
    labels = list(counted.labels)
    if len(labels) > WIDEST:
        yield f"{len(counted.speakers)} speakers, {len(labels)} labels: see --json"
        return
    table = [["speaker", *labels, "all"]]
    for speaker, counts in counted.speakers.items():
        cells = [str(counts.get(label, 0)) for label in labels]
        table.append([speaker, *cells, str(sum(counts.values()))])
    yield from _aligned(table)
    yield ""


def _more(counted: Stats) -> Iterator[str]:
    for title, counts in (
        ("sex", counted.sexes),
        ("language", counted.languages),
        ("partition", counted.partitions),
    ):
        if counts:
            yield f"{title}: {', '.join(f'{name} {n:,}' for name, n in counts.items())}"
    if counted.durations:
        yield f"seconds: {', '.join(f'{name} {v:g}' for name, v in counted.durations.items())}"
    if counted.rated:
        yield f"rated by two or more: {counted.rated:,} utterances"
    for name, value in counted.agreement.items():
        yield f"{name.replace('_', ' ')}: {value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns of equal width; the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()
