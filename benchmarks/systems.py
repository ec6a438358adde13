"""What the benchmarks of several systems on several targets share: training, rows, pages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
DIGITS = 4  # of the probabilities that are kept
METRICS = ("uar", "wa")
Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Recipes whose results go onto one page."""

    name: str
    """`docs/results/NAME.json`, `.md`, and the predictions in `docs/results/NAME/`."""
    recipes: Sequence[str]
    kind: Callable[[], type]
    """The recipe's dataclass."""
    baseline: Callable[[Any, Any], Any]
    """What a system of a recipe is compared with, or None."""
    page: Callable[[list[Row]], str]
    runs: Path
    """Folder of the runs, each in one of its recipe's name."""

    @property
    def folder(self) -> Path:
        """Where predictions are kept."""
        return RESULTS / self.name

    def main(self, words: Sequence[str]) -> None:
        """Train the named recipes, or those without results; `--page` trains nothing."""
        from voicetone.evaluation.results import write_results

        if list(words) != ["--page"]:
            self.train(words)
        for each in self.recipes:
            self.keep(each)
        rows = [row for each in self.recipes for row in self.rows(each)]
        write_results(RESULTS / f"{self.name}.json", rows)
        (RESULTS / f"{self.name}.md").write_text(self.page(rows), encoding="utf-8")

    def train(self, names: Sequence[str]) -> None:
        """The recipes that are asked for; if none is, those without results."""
        from voicetone.training.run import train

        without = [n for n in self.recipes if not list(self.folder.glob(f"{n}-*.parquet"))]
        for name in names or without:
            os.chdir(ROOT)  # a recipe may name another's run
            train(ROOT / "recipes" / f"{name}.toml", [f"out={self.runs / name}"])

    def recipe(self, name: str) -> Any:
        """A recipe as its dataclass."""
        from voicetone.training.recipe import dataclass_from, read_recipe

        path = ROOT / "recipes" / f"{name}.toml"
        return dataclass_from(self.kind(), read_recipe(path), path)

    def keep(self, name: str) -> None:
        """Put the predictions of what is done beside the page, rounded, and what is told of it."""
        from voicetone.evaluation.table import read_predictions

        for metrics in sorted((self.runs / name).glob("*/*/metrics.json")):
            run = metrics.parent
            found = read_predictions(run / "predictions")
            table = replace(
                found,
                scores=np.round(found.scores, DIGITS),
                audio=np.full(len(found), ""),  # no paths of this machine
            )
            stem = f"{name}-{run.parent.name}-{run.name}"
            self.folder.mkdir(parents=True, exist_ok=True)
            table.write(self.folder / f"{stem}.parquet")
            told = json.loads(metrics.read_text(encoding="utf-8"))
            kept = {key: told[key] for key in ("majority_rate", "fold_hash", "convergence")}
            ran = json.loads((run / "environment.json").read_text(encoding="utf-8"))
            kept["classes"] = len(told["labels"])
            kept |= {"machine": ran["machine"], "date": ran["started"][:10]}
            (self.folder / f"{stem}.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")

    def rows(self, name: str) -> list[Row]:
        """Rows of one recipe's results, as far as there are any."""
        recipe = self.recipe(name)
        return [
            row
            for target in recipe.targets
            for system in recipe.systems
            for row in self._rows(recipe, target.name, system)
        ]

    def _rows(self, recipe: Any, target: str, system: Any) -> list[Row]:
        from voicetone.evaluation.results import result_row
        from voicetone.evaluation.significance import better_over_seeds, difference, seed_scores
        from voicetone.evaluation.table import read_predictions

        path = self.folder / f"{recipe.name}-{target}-{system.name}.parquet"
        if not path.exists():
            return []
        base = self.baseline(recipe, system)
        against = self.folder / f"{recipe.name}-{target}-{base.name}.parquet" if base else None
        known = against if against is not None and against.exists() else None
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        more: Row = {
            "recipe": recipe.name,
            "target": target,
            "system": system.name,
            "labelled": system.labelled,
            **facts,
        }
        if known is not None:
            one, two = read_predictions(path), read_predictions(known)
            apart = difference(one, two)
            more["difference"] = round(apart.value, 4)
            if apart.low is not None and apart.high is not None:
                more["difference_interval"] = [round(apart.low, 4), round(apart.high, 4)]
            p = better_over_seeds(seed_scores(one), seed_scores(two))
            more["p_seeds"] = None if p is None else round(p, 4)
        return [result_row(path, RESULTS, m, known, **more) for m in METRICS]


def table(
    rows: list[Row], about: str, heads: Sequence[str], cells: Callable[[Row, Row], list[str]]
) -> list[str]:
    """A table of one target's systems, and what is said against them.

    Args:
        rows: of both metrics.
        about: the line above it.
        heads: of the columns.
        cells: of a system, from its rows of UAR and of accuracy.
    """
    lines = [about, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    cautions = []
    for row in rows:
        if row["metric"] != "uar":
            continue
        wa = next(r for r in rows if r["system"] == row["system"] and r["metric"] == "wa")
        lines.append(f"| {' | '.join(cells(row, wa))} |")
        cautions += [f"- {row['system']}: {text}." for text in row["convergence"]["cautions"]]
    return [*lines, "", *cautions, *([""] if cautions else [])]


def seeds(row: Row) -> int:
    """How many."""
    return row["seeds"] if isinstance(row["seeds"], int) else len(row["seeds"])


def mean(row: Row) -> str:
    """Mean and SD over seeds, in percent."""
    return f"{100 * row['mean']:.2f}" + ("" if row["sd"] is None else f" ± {100 * row['sd']:.2f}")


def interval(row: Row) -> str:
    """The 95 % interval over speakers, in percent."""
    return "–" if row["low"] is None else f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"


def p_value(value: float | None) -> str:
    """As it is printed."""
    return "–" if value is None else ("< 0.001" if value < 0.001 else f"{value:.3f}")


def over_speakers(row: Row) -> float | None:
    """p of the paired bootstrap over speakers."""
    return row["p"] if row.get("test", "").startswith("paired") else None


def named(row: Row) -> str:
    """A row and its difference, in a sentence."""
    return (
        f"{row['recipe']}, {row['target']}: {100 * row['difference']:+.2f} (t-test "
        f"{p_value(row['p_seeds'])}, bootstrap {p_value(over_speakers(row))})"
    )
