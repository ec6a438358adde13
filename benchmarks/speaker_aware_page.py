"""The page of the speaker-aware transformers: tables, and sentences computed from the rows."""

from __future__ import annotations

import json

from systems import RESULTS, Row, interval, mean, over_speakers, p_value, seeds, table

HEADS = (
    *("system", "UAR %", "interval", "accuracy %", "difference", "of the difference", "t-test"),
    *("bootstrap", "to shuffled", "p", "women", "men"),
)
SURE = 0.05
ABOUT = """# The speaker-aware transformer

Made by `python benchmarks/speaker_aware.py` with the recipes in `recipes/`; each row can be
computed again from the predictions beside this page: `voicetone evaluate --recompute
docs/results/speaker-aware.json`.
What the systems are: [The speaker-aware transformer](../speaker-aware.md); what the protocols mean:
[Protocols](../protocols.md).

- UAR and accuracy of the predictions pooled over folds, mean and SD over seeds. The interval is a
  95 % bootstrap over speakers; with fewer than five speakers there is none.
- *Difference*: to `none`, the same network that knows no speaker, on the same folds, in points of
  UAR, with its 95 % interval over speakers, paired. *t-test*: p of a one-tailed Welch t-test over
  seeds that the system is better; *bootstrap*: two-sided p of the paired bootstrap over speakers,
  which says whether other speakers would give the same order.
- `-shuffled` gets the embedding of an utterance of another speaker instead of the right one,
  `-zero` none at all, in training and test alike. *To shuffled*: how far a system is above its own
  shuffled control, in points of UAR, with the p of the paired bootstrap over speakers. What helps
  shuffled as well is not the speaker.
- `z-norm` is `none` on features that are normalised per speaker. It and the embeddings use
  unlabelled audio of the test speakers: z-norm all of it, an embedding that of the speaker's other
  clips in the same part of the fold.
- *Women*, *men*: UAR of these speakers, in percent.
- The p values are not corrected for the number of systems: of twenty without any effect one is
  below 0.05 by chance.
- Sizes were chosen by what two cores can train, and rates on validation speakers of the first fold.
- Every sentence of these corpora is spoken in every emotion, so each tested sentence is in training
  too, spoken by others.
- nEMO has three speakers here, of whom two train and none validates: no interval, and the last
  epoch.
"""


def page(rows: list[Row]) -> str:
    """The page as Markdown."""
    whole = [row for row in rows if "seconds" not in row]
    lines = [ABOUT, *_reading(whole), *_svm()]
    for recipe in dict.fromkeys(r["recipe"] for r in whole):
        lines += [f"## {recipe}", ""]
        of_recipe = [r for r in whole if r["recipe"] == recipe]
        for target in dict.fromkeys(r["target"] for r in of_recipe):
            lines += _table([r for r in of_recipe if r["target"] == target])
            points = [r for r in rows if "seconds" in r and r["recipe"] == recipe]
            lines += _curve([r for r in points if r["target"] == target])
    return "\n".join(lines)


def _table(rows: list[Row]) -> list[str]:
    first = rows[0]
    about = (
        f"**{first['target']}**: {first['labels']}; {first['protocol']}; {seeds(first)} seeds; the "
        f"largest class is {100 * first['majority_rate']:.1f} %. Features: "
        f"{first['features'].split(';')[0]}. Run {first['date']} on {first['machine']}."
    )
    return table(rows, about, HEADS, _cells)


def _cells(row: Row, wa: Row) -> list[str]:
    low, high = row.get("difference_interval", (None, None))
    against, sexes = row.get("against_shuffled"), row.get("by_sex", {})
    return [
        row["system"],
        mean(row),
        interval(row),
        mean(wa),
        "–" if row.get("difference") is None else f"{100 * row['difference']:+.2f}",
        "–" if low is None else f"{100 * low:+.1f} to {100 * high:+.1f}",
        p_value(row.get("p_seeds")),
        p_value(over_speakers(row)),
        "–" if against is None else f"{100 * against['difference']:+.2f}",
        "–" if against is None else p_value(against["p"]),
        *(f"{100 * sexes[sex]:.1f}" if sex in sexes else "–" for sex in ("female", "male")),
    ]


def _curve(points: list[Row]) -> list[str]:
    """UAR over seconds of enrolment, a line per system."""
    if not points:
        return []
    lengths = sorted({p["seconds"] for p in points})
    lines = [
        "Seconds of enrolment, UAR %; the clips are whole, so what was really heard on average "
        "stands behind. Without any, the network's word for an unknown speaker stands in, and of "
        "z-norm the statistics of the training set.",
        "",
        f"| system | {' | '.join(f'{s:g} s' for s in lengths)} | heard |",
        "|---" * (len(lengths) + 2) + "|",
    ]
    for system in dict.fromkeys(p["system"] for p in points):
        own = {p["seconds"]: p for p in points if p["system"] == system}
        cells = [mean(own[s]) if s in own else "–" for s in lengths]
        heard = ", ".join(f"{own[s]['heard']:.1f}" for s in lengths if s in own)
        lines.append(f"| {system} | {' | '.join(cells)} | {heard} |")
    return [*lines, ""]


def _reading(rows: list[Row]) -> list[str]:
    """Which integration helps unseen speakers, and whether it is the speaker."""
    judged = [r for r in rows if r["metric"] == "uar" and r.get("difference") is not None]
    lines = ["## Reading", ""] if judged else []
    for recipe in dict.fromkeys(r["recipe"] for r in judged):
        own = [r for r in judged if r["recipe"] == recipe]
        lines += _of_recipe(recipe, own)
    told = [r for r in judged if r["control"] == "none" and _takes(r) and _unseen(r)]
    if told:
        better = [r for r in told if r["difference"] > 0]
        real = [r for r in better if r.get("against_shuffled", {}).get("difference", 0) > 0]
        average = sum(r["difference"] for r in told) / len(told)
        shuffled = [r for r in judged if r["control"] == "shuffled" and _unseen(r)]
        lines.append(
            f"- **All together**, for unseen speakers: true embeddings are above `none` in "
            f"{len(better)} of {len(told)} comparisons ({100 * average:+.2f} points on average), "
            f"and above both `none` and their own shuffled control in {len(real)}."
        )
        if shuffled:
            mean_of = sum(r["difference"] for r in shuffled) / len(shuffled)
            lines[-1] += f" Shuffled embeddings are {100 * mean_of:+.2f} points from `none`."
    return [*lines, ""] if lines else []


def _of_recipe(recipe: str, rows: list[Row]) -> list[str]:
    told = [r for r in rows if r["control"] == "none" and _takes(r)]
    lines = []
    if told:
        best = max(told, key=lambda r: r["difference"])
        against = best.get("against_shuffled")
        said = (
            f"- **{recipe}** ({'unseen' if _unseen(best) else 'known'} speakers): of the ways to "
            f"bring the embedding in, {best['system']} scored highest on the test "
            f"folds, {_apart(best)}"
        )
        if against is not None:
            sure = _beyond(best["difference"], over_speakers(best)) and _beyond(
                against["difference"], against["p"]
            )
            said += (
                f"; it is {100 * against['difference']:+.2f} from its shuffled control "
                f"(bootstrap {p_value(against['p'])}), so that it "
                f"{'is' if sure else 'is not shown to be'} the speaker that matters"
            )
        lines.append(f"{said}.")
    for row in rows:
        if row["integration"] == "gradient-reversal" or row["normalise"] == "speaker":
            lines.append(f"    - {row['system']}: {_apart(row)}.")
    return lines


def _beyond(difference: float, p: float | None) -> bool:
    """Better, and not by chance over speakers; uncorrected."""
    return difference > 0 and p is not None and p < SURE


def _takes(row: Row) -> bool:
    return row["integration"] not in ("none", "gradient-reversal")


def _unseen(row: Row) -> bool:
    return "speaker-dependent" not in row["protocol"]


def _apart(row: Row) -> str:
    p = over_speakers(row)
    chance = "" if p is None or p < SURE else ", which may be chance"
    return (
        f"{100 * row['difference']:+.2f} points from `none` (t-test {p_value(row['p_seeds'])}, "
        f"bootstrap {p_value(p)}{chance})"
    )


def _svm() -> list[str]:
    """What normalisation per speaker does for a support vector machine, from its own page."""
    path = RESULTS / "baselines.json"
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    found = {r["run"]: r for r in rows if r["metric"] == "uar"}
    plain, speaker = found.get("svm-ravdess16"), found.get("svm-ravdess16-speaker")
    if plain is None or speaker is None:
        return []
    return [
        f"To beat: normalisation per speaker takes a linear SVM on {plain['features'].split()[0]} "
        f"functionals of RAVDESS 01-16 from {plain['mean']:.3f} to {speaker['mean']:.3f} UAR "
        "([Baselines](baselines.md)).",
        "",
    ]
