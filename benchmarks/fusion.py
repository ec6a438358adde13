"""Train voice, words and both on RAVDESS and on the made corpus, and write their tables.

    VOICETONE_DATA=DIR python benchmarks/fusion.py [RECIPE...] [--made FOLDER]

Each recipe goes into `runs/RECIPE`, and on from where it stopped; without names all are run that
have no results yet. FOLDER (`made` if not given) is what `benchmarks/made_speech.py` made; a
manifest in which the sentiment is VADER's of the words is written there first.
`docs/results/fusion.json`, `.md` and the predictions of each row beside them are made from what
there is. With `--page` nothing is trained.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fusion_page import page
from systems import DIGITS, RESULTS, ROOT, Bench, Row

RECIPES = ("fusion-ravdess16", "fusion-made")
MADE = "fusion-made"
MANIFEST = "manifest-vader.csv"
SINGLE = {"words": "acoustic", "voice": "text"}
"""What is left where something is missing: what that is compared with."""


@dataclass(frozen=True)
class FusionBench(Bench):
    """With what is left where a modality is missing, and the difference to words alone."""

    made: Path = Path("made")

    def train(self, names: Sequence[str]) -> None:
        """The recipes that are asked for; if none is, those without results."""
        from voicetone.training.run import train

        without = [n for n in self.recipes if not list(self.folder.glob(f"{n}-*.parquet"))]
        for name in names or without:
            os.chdir(ROOT)
            more = [f"out={self.runs / name}"]
            if name == MADE:
                manifest = labelled(self.made)
                more.append(f'corpora=[{{name="{manifest}", licence="CC0"}}]')
            train(ROOT / "recipes" / f"{name}.toml", more)

    def keep(self, name: str) -> None:
        """Also the predictions without words, and without voice, as tables of their own."""
        super().keep(name)
        from voicetone.evaluation.table import read_predictions

        for metrics in sorted((self.runs / name).glob("*/*/metrics.json")):
            run = metrics.parent
            for missing in SINGLE:
                if not (run / f"without-{missing}").exists():
                    continue
                found = read_predictions(run / f"without-{missing}")
                table = replace(
                    found,
                    scores=np.round(found.scores, DIGITS),
                    audio=np.full(len(found), ""),
                )
                stem = f"{name}-{run.parent.name}-{run.name}-without-{missing}"
                table.write(self.folder / f"{stem}.parquet")

    def rows(self, name: str) -> list[Row]:
        """Rows of one recipe, those with something missing behind them."""
        recipe = self.recipe(name)
        whole = super().rows(name)
        missing = []
        for row in whole:
            if row["metric"] != "uar":
                continue
            system = next(s for s in recipe.systems if s.name == row["system"])
            row["fusion"] = system.fusion
            if system.fused:
                row["against_text"] = self._apart(recipe, row, row["system"], "text")
                missing += self._missing(recipe, row)
        return whole + missing

    def _path(self, recipe: Any, row: Row, system: str) -> Path:
        return self.folder / f"{recipe.name}-{row['target']}-{system}.parquet"

    def _apart(self, recipe: Any, row: Row, one: str, other: str) -> Row | None:
        """The difference of two systems, paired over speakers."""
        from voicetone.evaluation.significance import difference
        from voicetone.evaluation.table import read_predictions

        paths = [self._path(recipe, row, name) for name in (one, other)]
        if not all(path.exists() for path in paths):
            return None
        apart = difference(*(read_predictions(path) for path in paths))
        told = {"difference": apart.value, "low": apart.low, "high": apart.high, "p": apart.p}
        return {key: None if v is None else round(float(v), 4) for key, v in told.items()}

    def _missing(self, recipe: Any, row: Row) -> list[Row]:
        """What is left without words, and without voice, beside the network of one modality."""
        from voicetone.evaluation.results import result_row

        out = []
        for missing, single in SINGLE.items():
            name = f"{row['system']}-without-{missing}"
            path, base = (self._path(recipe, row, n) for n in (name, single))
            if not path.exists():
                continue
            facts = {k: row[k] for k in ("recipe", "target", "system", "fusion")}
            facts |= {"missing": missing, "single": single}
            apart = self._apart(recipe, row, name, single)
            facts |= {} if apart is None else {"apart": apart}
            known = base if base.exists() else None
            out.append(result_row(path, RESULTS, "uar", known, **facts))
        return out


def labelled(made: Path) -> Path:
    """The made corpus with VADER's word on each sentence as its sentiment; written once.

    The corpus's own label stays in the column `label`.
    """
    from voicetone.language.vader import VaderLabeller  # its absence is told before anything
    from voicetone.pseudolabel import Journal, fill, tables
    from voicetone.pseudolabel.routes import Wishes, steps_of

    VaderLabeller()
    out = made.resolve() / MANIFEST
    if out.exists():
        return out
    blank = made.resolve() / "manifest-blank.csv"
    try:
        with (made / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise SystemExit(
            f"{made}: make it first: python benchmarks/made_speech.py {made}"
        ) from None
    with blank.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys([*rows[0], "sentiment"]))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "sentiment": ""} for row in rows)
    steps = steps_of(Wishes(transcript_by="none", sentiment_by="vader", language="en"))
    with Journal(tables.journal_of(out)) as journal:
        tables.write(fill(tables.read(blank), steps, journal).manifest, out)
    return out


def kind() -> type:
    """The recipe's dataclass."""
    from voicetone.training.fusion_recipe import FusionRecipe

    return FusionRecipe


def baseline(recipe: Any, system: Any) -> Any:
    """The voice alone."""
    from voicetone.training.fusion_run import baseline_of

    return baseline_of(recipe, system)


BENCH = FusionBench("fusion", RECIPES, kind, baseline, page, ROOT / "runs")


def main(words: list[str]) -> None:
    """See above."""
    made = BENCH.made
    if "--made" in words:
        place = words.index("--made")
        made = Path(words[place + 1]).resolve()
        del words[place : place + 2]
    replace(BENCH, made=made).main(words)


if __name__ == "__main__":
    main(sys.argv[1:])
