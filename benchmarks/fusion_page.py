"""The page of voice and words: tables, and sentences computed from the rows."""

from __future__ import annotations

from systems import Row, interval, mean, over_speakers, p_value, seeds, table

HEADS = (
    *("system", "UAR %", "interval", "accuracy %", "to acoustic", "of the difference"),
    *("bootstrap", "to text", "p", "without words", "without voice"),
)
ABOUT = """# Voice and words together

Made by `python benchmarks/fusion.py` with the recipes in `recipes/`; each row can be computed again
from the predictions beside this page: `voicetone evaluate --recompute docs/results/fusion.json`.
What the systems are: [Voice and words](../fusion.md).

- UAR and accuracy of the predictions pooled over folds. The interval is a 95 % bootstrap over
  speakers.
- *To acoustic*: the difference to the voice alone, the same acoustic network on the same folds, in
  points of UAR, with its 95 % interval and two-sided p, both of a bootstrap over speakers, paired.
  *To text*: the same for the words alone.
- *Without words*, *without voice*: UAR of the same fused network, where the words, or the voice, of
  every test utterance are missing. In brackets the difference to the network that was trained on
  the other modality alone.
- The words are learnt from the transcripts of each fold's training set and from nothing else; the
  transcripts are those of the corpora, without a recogniser's mistakes.
- The epoch is the best on validation speakers. Sizes and rates are those of the speaker-aware
  transformer, chosen on validation speakers of RAVDESS' first fold, who are tested in another one.
  The numbers of epochs were set by what could be computed, before any result was seen.
- **One seed**: a second one may move a row by some points.
- The p values are not corrected for the number of systems.
"""
NOTES = {
    "fusion-ravdess16": (
        "Both sentences of RAVDESS are spoken in every emotion: the words carry nothing. What is "
        "to be seen is that words alone are at chance ({chance:.1f} %), and whether a fusion is "
        "worse than the voice alone for having read them."
    ),
    "fusion-made": (
        "[Words and tone apart](../made-speech.md): espeak-ng speaks, **no person is heard**, and "
        "the label is a rule of words and tone. Test voices and test sentences are in no training; "
        "the words are. Words alone, or tone alone, reach 55.6 % at most, so that an interval that "
        "lies above it takes both. `text-label` is what "
        "VADER says of the transcript, taken as it is. `acoustic` is given no transcript, but its "
        "labels depend on 42 words, so it may learn to hear some of them. What is shown is the "
        "mechanism and nothing about people."
    ),
}


def page(rows: list[Row]) -> str:
    """The page as Markdown."""
    whole = [row for row in rows if "missing" not in row]
    lines = [ABOUT]
    for recipe in dict.fromkeys(r["recipe"] for r in whole):
        own = [r for r in whole if r["recipe"] == recipe]
        lines += [f"## {recipe}", "", *_note(recipe, own)]
        for target in dict.fromkeys(r["target"] for r in own):
            mine = [r for r in own if r["target"] == target]
            left = [
                r
                for r in rows
                if "missing" in r and r["recipe"] == recipe and r["target"] == target
            ]
            lines += [*_table(mine, left), *_reading(mine, left)]
    return "\n".join(lines)


def _note(recipe: str, rows: list[Row]) -> list[str]:
    said = NOTES.get(recipe)
    return [said.format(chance=100 / rows[0]["classes"]), ""] if said else []


def _table(rows: list[Row], left: list[Row]) -> list[str]:
    first = rows[0]
    about = (
        f"**{first['target']}**: {first['labels']}; {first['protocol']}; seeds: {seeds(first)}; "
        f"the largest class is {100 * first['majority_rate']:.1f} %. Features: "
        f"{first['features'].split(';')[0]}. Run {first['date']} on {first['machine']}."
    )
    return table(rows, about, HEADS, lambda row, wa: _cells(row, wa, left))


def _cells(row: Row, wa: Row, left: list[Row]) -> list[str]:
    low, high = row.get("difference_interval", (None, None))
    text = row.get("against_text")
    return [
        row["system"],
        mean(row),
        interval(row),
        mean(wa),
        "–" if row.get("difference") is None else f"{100 * row['difference']:+.1f}",
        "–" if low is None else f"{100 * low:+.1f} to {100 * high:+.1f}",
        p_value(over_speakers(row)),
        "–" if text is None else f"{100 * text['difference']:+.1f}",
        "–" if text is None else p_value(text["p"]),
        *(_left(row["system"], missing, left) for missing in ("words", "voice")),
    ]


def _left(system: str, missing: str, left: list[Row]) -> str:
    found = [r for r in left if (r["system"], r["missing"]) == (system, missing)]
    if not found:
        return "–"
    apart = found[0].get("apart")
    said = "" if apart is None else f" ({100 * apart['difference']:+.1f})"
    return f"{mean(found[0])}{said}"


def _reading(rows: list[Row], left: list[Row]) -> list[str]:
    """What the table says, in sentences."""
    fused = [r for r in rows if r["metric"] == "uar" and r.get("against_text") is not None]
    lines = []
    for row in fused:
        low, high = row.get("difference_interval", (None, None))
        text = row["against_text"]
        if low is None or text["low"] is None:
            continue
        voice, words = (_said(low, high), _said(text["low"], text["high"]))
        lines.append(
            f"- `{row['system']}` is {voice} the voice alone ({100 * row['difference']:+.1f} "
            f"points, {100 * low:+.1f} to {100 * high:+.1f}) and {words} the words alone "
            f"({100 * text['difference']:+.1f}, {100 * text['low']:+.1f} to "
            f"{100 * text['high']:+.1f}), over other speakers."
        )
    costs = [r["apart"] for r in left if r["missing"] == "words" and "apart" in r]
    if costs:
        worst = min(c["difference"] for c in costs)
        best = max(c["difference"] for c in costs)
        sure = sum(c["high"] is not None and c["high"] < 0 for c in costs)
        lines.append(
            f"- Without any transcript the fused networks are {100 * worst:+.1f} to "
            f"{100 * best:+.1f} points from the network that was trained on the voice alone; "
            f"{sure} of {len(costs)} are below it with an interval that leaves out zero."
        )
    return [*lines, ""] if lines else []


def _said(low: float, high: float) -> str:
    """What an interval of a difference lets be said."""
    return "better than" if low > 0 else "worse than" if high < 0 else "not to be told from"
