"""Several runs side by side, each against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from voicetone.evaluation.bootstrap import DRAWS
from voicetone.evaluation.counts import HEADLINE, NAMES
from voicetone.evaluation.report import FACTS, p_value
from voicetone.evaluation.report_text import interval, number, quoted, rows
from voicetone.evaluation.scores import headline
from voicetone.evaluation.significance import (
    better_over_seeds,
    difference,
    different_over_seeds,
    seed_scores,
)
from voicetone.evaluation.table import PredictionTable


def compare(
    runs: Sequence[tuple[str, PredictionTable]],
    metric: str = "uar",
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """The runs' scores, and how far each lies from the first.

    Args:
        runs: names and predictions, two or more.
        metric: that the runs are compared by, a name in `HEADLINE`.
        draws: of the bootstrap over speakers, the same for both of a pair.
        seed: of the draws.

    Returns:
        Data for JSON: `runs`, each with its `scores` and, but for the first, `difference` and
        the p of two t-tests over seeds: `t_test`, one-tailed, that this run is better than the
        first (its tail is set before anyone looks), and `t_test_two_sided`, that they differ.

    Raises:
        DataError: runs without a common utterance, or under other label rules.
    """
    _, first = runs[0]
    found = []
    for place, (name, table) in enumerate(runs):
        run: dict[str, Any] = {
            "name": name,
            "utterances": len(set(table.id.tolist())),
            "speakers": len(table.speakers),
            "seeds": len(table.seeds),
            "facts": {key: str(table.meta[key]) for key in FACTS if table.meta.get(key)},
            "scores": {k: asdict(v) for k, v in headline(table, draws, seed).items()},
        }
        if place:
            apart = difference(table, first, metric, draws, seed)
            one, other = (seed_scores(t, metric) for t in (table, first))
            run["difference"] = asdict(apart)
            run["t_test"] = better_over_seeds(one, other)
            run["t_test_two_sided"] = different_over_seeds(one, other)
        found.append(run)
    return {
        "metric": metric,
        "draws": draws,
        "seed": seed,
        "runs": found,
        "cautions": _cautions(found),
    }


def markdown(comparison: Mapping[str, Any]) -> str:
    """A comparison as a Markdown table."""
    metric = comparison["metric"]
    head = ["run", NAMES[metric].partition(" (")[0], "SD", "95 % interval"]
    head += [NAMES[k].partition(" (")[0] for k in HEADLINE if k != metric]
    head += ["difference", "95 % interval", "p, two-sided"]
    head += ["p over seeds, better than the first", "p over seeds, two-sided"]
    body = []
    for run in comparison["runs"]:
        score = run["scores"][metric]
        apart = run.get("difference")
        line = [run["name"], number(score["mean"]), number(score["sd"]), interval(score)]
        line += [number(run["scores"][k]["mean"]) for k in HEADLINE if k != metric]
        if apart is None:
            line += ["(reference)", "", "", "", ""]
        else:
            line += [f"{apart['value']:+.3f}", signed(apart), p_value(apart["p"])]
            line += [p_value(run["t_test"]), p_value(run["t_test_two_sided"])]
        body.append(line)
    parts = (rows(head, body), quoted(comparison["cautions"]))
    return "\n".join(part for part in parts if part)


def signed(apart: Mapping[str, Any]) -> str:
    """A difference's interval, or a dash."""
    if apart["low"] is None:
        return "–"
    return f"{apart['low']:+.3f} to {apart['high']:+.3f}"


def _cautions(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    said = []
    for key, title in FACTS.items():
        values = {run["facts"].get(key) for run in runs} - {None}
        if key in ("protocol", "label_rule", "folds") and len(values) > 1:
            said.append(
                f"{title}: not the same in all runs, so a difference may come from that alone."
            )
    for run in runs:
        apart = run.get("difference")
        if apart and apart["left_out"]:
            said.append(
                f"{run['name']}: compared over the {apart['utterances']:,} utterances that both "
                f"runs have; {apart['left_out']:,} were left out."
            )
    reasons = {r["difference"]["reason"] for r in runs if r.get("difference")} - {None}
    return said + [f"{reason[:1].upper()}{reason[1:]}." for reason in sorted(reasons)]
