"""`voicetone robustness`: what noise, rooms, telephones and small changes do to a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicetone.cli.output import OutputError, complain, say, written
from voicetone.cli.sweep_plan import Wanted, heard, make_plan, only_of, possible
from voicetone.errors import DataError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from voicetone.augment.changes import Change
    from voicetone.cli.sweep import Plan
    from voicetone.evaluation.robustness import Effect
    from voicetone.evaluation.table import PredictionTable

HELP = (
    "Score a labelled corpus clean and under changes of its audio.\n\nThe folder --out gets a "
    "table of predictions per condition, and report.html, scores.json and scores.md, which say "
    "what each change costs and whether that is within its limit. The same command goes on where "
    "it was interrupted."
)


def robustness(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A model: name or folder.")],
    corpus: Annotated[
        str,
        typer.Argument(metavar="MANIFEST|CORPUS", help="A manifest, a folder or a corpus."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables and report.")],
    conditions: Annotated[
        str,
        typer.Option(
            help='Changes, separated by commas, such as "babble 20 dB,gain"; a noise without a '
            "level stands for several. Without this option the usual ones."
        ),
    ] = "",
    noise: Annotated[
        Path | None,
        typer.Option(
            help="Folder with manifest.csv (file, label, fold) of environmental noises; those "
            "labelled cough are coughs."
        ),
    ] = None,
    noise_folds: Annotated[
        str, typer.Option(help="Use only these folds of the noises, such as 4,5.")
    ] = "",
    music: Annotated[Path | None, typer.Option(help="The same for music.")] = None,
    rooms: Annotated[
        Path | None, typer.Option(help="Folder with manifest.csv of room impulse responses.")
    ] = None,
    space: Annotated[str, typer.Option(help="What is judged: emotion or sentiment.")] = "emotion",
    labels: Annotated[
        str, typer.Option(help="Use only utterances with these labels, separated by commas.")
    ] = "",
    rule: Annotated[str, typer.Option(help="Label rule; voicetone corpus list names them.")] = "",
    limit: Annotated[
        int, typer.Option(help="Use only so many utterances, drawn by the seed; 0 is all.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes; 0 is one per core.")] = 0,
) -> None:
    """Score a corpus under changes of its audio; see HELP."""
    from voicetone.augment.changes import changes

    if space not in ("emotion", "sentiment"):
        raise UsageError(f"--space {space}: give emotion or sentiment")
    for name, number in (("--jobs", jobs), ("--limit", limit)):
        if number < 0:
            raise UsageError(f"{name} {number}: give a number from 0 on")
    named = changes(conditions)
    _check_extras()
    wanted = Wanted(
        space="sentiment" if space == "sentiment" else "emotion",
        labels=_words(labels),
        rule=rule,
        limit=limit,
        seed=seed,
        noise=noise,
        music=music,
        rooms=rooms,
        folds=_words(noise_folds),
    )
    plan, facts = make_plan(bundle, corpus, wanted)
    asked = possible(named, plan, explicit=bool(conditions.strip()))
    with written(out):
        _sweep(plan, facts, asked, out, jobs, wanted)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _check_extras() -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None or find_spec("scipy") is None:
        raise MissingExtraError("voicetone robustness", "data,report")


def _sweep(
    plan: Plan,
    facts: dict[str, str],
    asked: Sequence[Change],
    out: Path,
    jobs: int,
    wanted: Wanted,
) -> None:
    """Make the tables that are missing, then the report."""
    from voicetone.cli.sweep import CLEAN, outcomes, table_of
    from voicetone.features.workers import ProgressLines, cores

    tables = out / "tables"
    if out.exists() and not tables.is_dir() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out}: holds something else than a robustness sweep: choose another --out"
        )
    root = Path(os.path.commonpath([u.audio.resolve().parent for u in plan.utterances]))
    jobs = jobs or cores()
    failures: dict[str, str] = {}

    def complete(plan: Plan, wanted_here: Sequence[Change | None]) -> list[PredictionTable]:
        """The tables of these conditions over the plan's utterances, made or found."""
        of: dict[str, PredictionTable] = {}
        missing = []
        for change in wanted_here:
            name = CLEAN if change is None else change.name
            kept = _kept(tables, name, {**facts, **heard(change, wanted)}, plan)
            if kept is None:
                missing.append(change)
            else:
                of[name] = kept
        report = ProgressLines("robustness")
        for change, found in outcomes(plan, missing, jobs, report):
            failures.update({plan.utterances[o.place].id: o.error for o in found if o.error})
            name = CLEAN if change is None else change.name
            meta = {**facts, "condition": name, **heard(change, wanted)}
            of[name] = table_of(plan, found, root, {k: v for k, v in meta.items() if v})
            if len(of[name]):
                of[name].write(tables / _file(name))
        return [of[CLEAN if c is None else c.name] for c in wanted_here]

    clean = complete(plan, [None])[0]
    if not len(clean):
        raise DataError(f"no utterance could be scored; the first: {next(iter(failures.values()))}")
    changed = complete(only_of(plan, clean), asked)
    for line in failures.values():
        complain(line)
    effects = _report(clean, dict(zip(asked, changed, strict=True)), out, root)
    beyond = sum(effect.passed is False for effect in effects)
    say(
        f"{out / 'report.html'}: {len(clean)} utterances, {len(effects)} conditions, "
        f"{beyond} beyond their limits\n"
    )
    if failures:
        raise typer.Exit(DataError.exit_code)


def _file(name: str) -> str:
    return f"{name.replace(' ', '-')}.parquet"


def _kept(tables: Path, name: str, facts: Mapping[str, str], plan: Plan) -> PredictionTable | None:
    """The table of a condition if it is there and complete; None if it is to be made.

    Raises:
        OutputError: it is of another sweep.
    """
    from voicetone.evaluation.table import read_predictions

    path = tables / _file(name)
    if not path.is_file():
        return None
    table = read_predictions(path)
    for key, value in facts.items():
        if table.meta.get(key, "") != value:
            raise OutputError(
                f"{path}: of another sweep (its {key.replace('_', ' ')} is "
                f"{table.meta.get(key) or 'none'}, not {value or 'none'}): choose another --out"
            )
    return table if table.id.tolist() == [u.id for u in plan.utterances] else None


def _report(
    clean: PredictionTable, changed: Mapping[Change, PredictionTable], out: Path, root: Path
) -> list[Effect]:
    """Judge the tables by the utterances that all of them have, and write the report."""
    import numpy as np

    from voicetone.evaluation.report_files import write_report
    from voicetone.evaluation.robustness import LIMITS, Condition
    from voicetone.evaluation.robustness import robustness as effects_of

    every = set(clean.id.tolist()).intersection(*(t.id.tolist() for t in changed.values()))

    def common(table: PredictionTable) -> PredictionTable:
        return table.select(np.isin(table.id, sorted(every)))

    clean = common(clean)
    effects = effects_of(
        clean,
        [Condition(c.name, common(t), LIMITS.get(c.name)) for c, t in changed.items()],
    )
    write_report(
        clean,
        out,
        title=f"Robustness of {clean.meta['model']}",
        places=[root],
        extra={"robustness": [asdict(effect) for effect in effects]},
    )
    return effects
