"""The table of a run of several systems, in the layout of Table 1 of both papers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voicetone.evaluation.report_files import to_json, write
from voicetone.evaluation.scores import headline
from voicetone.evaluation.significance import better_over_seeds, difference, seed_scores
from voicetone.evaluation.table import PredictionTable, read_predictions
from voicetone.training.systems_recipe import System, SystemsRecipe

METRICS = ("uar", "wa")


def write_table(
    root: Path, recipe: SystemsRecipe, baseline: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    """Write `table.json` and `table.md`: every system on every target.

    Args:
        root: folder of the run.
        recipe: says which systems there are.
        baseline: what a system of a recipe is compared with, or None.
    """
    targets = []
    for target in recipe.targets:
        tables = {
            s.name: read_predictions(root / target.name / s.name / "predictions")
            for s in recipe.systems
        }
        metrics = {
            s.name: json.loads((root / target.name / s.name / "metrics.json").read_text("utf-8"))
            for s in recipe.systems
        }
        rows = [_row(s, baseline(recipe, s), tables, metrics[s.name]) for s in recipe.systems]
        first = metrics[recipe.systems[0].name]
        targets.append(
            {
                "target": target.name,
                "seeds": list(recipe.seeds_of(target)),
                "labels": first["label_rule"],
                "protocol": first["protocol"],
                "utterances": first["utterances"],
                "speakers": first["speakers"],
                "majority_rate": first["majority_rate"],
                "fold_hash": first["fold_hash"],
                "rows": rows,
            }
        )
    found = {"name": recipe.name, "targets": targets}
    write(root / "table.json", to_json(found))
    write(root / "table.md", as_markdown(found))
    return found


def _row(
    system: System,
    baseline: System | None,
    tables: dict[str, PredictionTable],
    metrics: dict[str, Any],
) -> dict[str, Any]:
    table = tables[system.name]
    scores = headline(table)
    row: dict[str, Any] = {
        "system": system.name,
        "model": metrics["model"],
        "features": metrics["features"],
        "baseline": None if baseline is None else baseline.name,
        "cautions": metrics["convergence"]["cautions"],
    }
    for name in METRICS:
        score = scores[name]
        row[name] = {"mean": score.mean, "sd": score.sd, "low": score.low, "high": score.high}
    if baseline is not None:
        base = tables[baseline.name]
        apart = difference(table, base)
        row["difference"] = {"value": apart.value, "low": apart.low, "high": apart.high}
        row["p_speakers"] = apart.p
        row["p_seeds"] = better_over_seeds(seed_scores(table), seed_scores(base))
    return row


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def as_markdown(found: dict[str, Any]) -> str:
    """The table as Markdown: percentages, mean and SD over seeds, intervals over speakers."""
    lines = [
        f"# {found['name']}",
        "",
        "Mean ± SD over seeds; predictions are pooled over folds. The interval is a 95 % bootstrap "
        "over speakers. *t-test*: p of a one-tailed Welch t-test over seeds that the system is "
        "better than its baseline; *bootstrap*: two-sided p of the paired bootstrap over speakers.",
        "",
    ]
    for target in found["targets"]:
        lines += [
            f"## {target['target']}",
            "",
            f"{target['labels'][:1].upper()}{target['labels'][1:]}; {target['utterances']} "
            f"utterances, {target['speakers']} speakers; {target['protocol']}; the largest class "
            f"is {100 * target['majority_rate']:.1f} %; {_seeds(len(target['seeds']))}.",
            "",
            "| system | UAR % | interval | accuracy % | difference | t-test | bootstrap |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in target["rows"]]
        lines.append("")
        for row in target["rows"]:
            lines += [f"- {row['system']}: {text}." for text in row["cautions"]]
        if any(row["cautions"] for row in target["rows"]):
            lines.append("")
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    uar, wa, apart = row["uar"], row["wa"], row.get("difference")
    cells = [
        row["system"],
        _percent(uar["mean"], uar["sd"]),
        _range(uar["low"], uar["high"]),
        _percent(wa["mean"], wa["sd"]),
        "–" if apart is None else f"{100 * apart['value']:+.2f}",
        _p(row.get("p_seeds")),
        _p(row.get("p_speakers")),
    ]
    return f"| {' | '.join(cells)} |"


def _percent(mean: float, sd: float | None) -> str:
    return f"{100 * mean:.2f}" + ("" if sd is None else f" ± {100 * sd:.2f}")


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def _p(value: float | None) -> str:
    return "–" if value is None else ("< 0.001" if value < 0.001 else f"{value:.3f}")
