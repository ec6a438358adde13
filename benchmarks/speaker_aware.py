"""Train the speaker-aware transformers on the prepared corpora and write their tables.

    VOICETONE_DATA=DIR python benchmarks/speaker_aware.py [RECIPE...]

Each recipe goes into `runs/RECIPE`, and on from where it stopped; without names all are run that
have no results yet. `docs/results/speaker-aware.json`, `.md` and the predictions of each row beside
them are made from what there is. With `--page` nothing is trained. The recipes take d-vectors,
which are converted once: `python -m voicetone.training.dvector_export`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speaker_aware_page import page
from systems import RESULTS, ROOT, Bench, Row

RECIPES = (
    "speaker-aware-ravdess16",
    "speaker-aware-emodb4",
    "speaker-aware-nemo3",
    "speaker-aware-dependent",
)
CURVE_DIGITS = 2  # of the probabilities on the curve; the labels are kept beside them


@dataclass(frozen=True)
class SpeakerBench(Bench):
    """With the enrolment curves, what the controls say, and women and men."""

    def keep(self, name: str) -> None:
        """Also the predictions with other enrolments, as tables of their own."""
        super().keep(name)
        from voicetone.evaluation.table import read_predictions

        for metrics in sorted((self.runs / name).glob("*/*/metrics.json")):
            run = metrics.parent
            convergence = json.loads(metrics.read_text(encoding="utf-8"))["convergence"]
            for point in convergence.get("curve", []):
                kind = f"enrolment-{point['seconds']:g}s"
                found = read_predictions(run / kind)
                table = replace(
                    found,
                    scores=np.round(found.scores, CURVE_DIGITS),
                    predicted=found.predicted,
                    probabilities=False,  # rounded so far, they no longer sum to one
                    audio=np.full(len(found), ""),
                )
                table.write(self.folder / f"{name}-{run.parent.name}-{run.name}-{kind}.parquet")

    def rows(self, name: str) -> list[Row]:
        """Rows of one recipe, those of its curves behind them."""
        recipe = self.recipe(name)
        of_systems = super().rows(name)
        for row in of_systems:
            if row["metric"] == "uar":
                row |= self._beyond(recipe, row)
        curves = [
            one for row in of_systems if row["metric"] == "uar" for one in self._curve(recipe, row)
        ]
        return of_systems + curves

    def _path(self, recipe: Any, row: Row, system: str) -> Path:
        return self.folder / f"{recipe.name}-{row['target']}-{system}.parquet"

    def _beyond(self, recipe: Any, row: Row) -> Row:
        """What stands in a row beside its score: women and men, and the shuffled control."""
        from voicetone.evaluation.significance import difference
        from voicetone.evaluation.table import read_predictions

        own = read_predictions(self._path(recipe, row, row["system"]))
        system = next(s for s in recipe.systems if s.name == row["system"])
        more: Row = {"integration": system.integration, "control": system.control}
        more["normalise"] = system.features.normalise
        more["by_sex"] = by_sex(own)
        for other in recipe.systems:
            same = replace(other, name=system.name, control="none") == system
            path = self._path(recipe, row, other.name)
            if not same or other.control == "none" or not path.exists():
                continue
            apart = difference(own, read_predictions(path))
            more[f"against_{other.control}"] = {
                key: None if value is None else round(value, 4)
                for key, value in (
                    ("difference", apart.value),
                    ("low", apart.low),
                    ("high", apart.high),
                    ("p", apart.p),
                )
            }
        return more

    def _curve(self, recipe: Any, row: Row) -> list[Row]:
        from voicetone.evaluation.results import result_row

        out = []
        for point in row["convergence"].get("curve", []):
            kind = f"{row['system']}-enrolment-{point['seconds']:g}s"
            path = self._path(recipe, row, kind)
            if path.exists():
                facts = {k: row[k] for k in ("recipe", "target", "system", "integration")}
                facts |= {"seconds": point["seconds"], "heard": point["heard"]}
                out.append(result_row(path, RESULTS, "uar", None, **facts))
        return out


def by_sex(table: Any) -> dict[str, float]:
    """UAR of women and of men, the mean over seeds."""
    from voicetone.evaluation.significance import seed_scores

    sexes = table.groups.get("sex")
    if sexes is None:
        return {}
    return {
        str(sex): round(float(np.mean(seed_scores(table.select(sexes == sex)))), 4)
        for sex in sorted(set(sexes.tolist()) - {""})
    }


def kind() -> type:
    """The recipe's dataclass."""
    from voicetone.training.speaker_recipe import SpeakerRecipe

    return SpeakerRecipe


def baseline(recipe: Any, system: Any) -> Any:
    """The network that knows no speaker."""
    from voicetone.training.speaker_run import baseline_of

    return baseline_of(recipe, system)


BENCH = SpeakerBench("speaker-aware", RECIPES, kind, baseline, page, ROOT / "runs")

if __name__ == "__main__":
    BENCH.main(sys.argv[1:])
