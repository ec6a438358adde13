"""The page of the autoencoders' results: tables, and sentences that are computed from the rows."""

from __future__ import annotations

from systems import Row, interval, mean, named, over_speakers, p_value, seeds, table

HEADS = (
    *("system", "UAR %", "interval", "accuracy %", "difference", "t-test", "bootstrap"),
    *("x̂ error", "D y", "D z"),
)
ENDS = ("validation_reconstruction", "discriminator_y", "discriminator_z")

ABOUT = """# Adversarial autoencoders

Made by `python benchmarks/aae.py` with the recipes in `recipes/`; each row can be computed again
from the predictions beside this page: `voicetone evaluate --recompute docs/results/aae.json`.
What the systems are: [The adversarial autoencoder](../aae.md); what the protocols mean:
[Protocols](../protocols.md).

- UAR and accuracy of the predictions pooled over folds, mean and SD over seeds. The interval is a
  95 % bootstrap over speakers; with fewer than five speakers there is none.
- *Difference*: to the baseline of equal capacity on the same folds, labels and features, in UAR.
  *t-test*: p of a one-tailed Welch t-test over seeds that the system is better, as in the paper;
  it says whether other initial weights would give the same, not whether other speakers would.
  *Bootstrap*: two-sided p of the paired bootstrap over speakers, which does say that.
- *x̂ error*: mean squared error of reconstruction on validation speakers at the last epoch; about 1
  is what the mean of the features reaches. *D y*, *D z*: losses of the discriminators; 0.693 (ln 2)
  where they can't tell codes from samples of the prior, which one that has learnt nothing can't
  either.
- Ten seeds on EMO-DB and nEMO; three on RAVDESS, whose table with ten does not fit two hours of CPU
  time, and for frames, ablations and few labels. Each table says how many.
- Rates and weights, which are not published, were compared on validation speakers; the number of
  epochs is bounded by what two CPU cores train in an hour or two. An epoch has 5 to 10 steps here,
  so these are 150 to 400 steps; the paper's corpus and epochs make about 12,500 at this batch size.
  What needs many steps, as batch normalisation with a low rate does, is at a disadvantage.
- Every sentence of these corpora is spoken in every emotion, so each tested sentence is in
  training too, spoken by others. Nothing here says how the systems do on words.
- nEMO has three speakers here: no interval, and a network that trains on one of them and chooses
  its epoch on another.
- openSMILE, which makes the features, is for research and education only.
"""


def page(rows: list[Row]) -> str:
    """The page as Markdown."""
    lines = [ABOUT, *_reading(rows)]
    for recipe in dict.fromkeys(r["recipe"] for r in rows):
        of_recipe = [r for r in rows if r["recipe"] == recipe]
        lines += [f"## {recipe}", ""]
        for target in dict.fromkeys(r["target"] for r in of_recipe):
            chosen = [r for r in of_recipe if r["target"] == target]
            lines += _table(chosen)
    return "\n".join(lines)


def _table(rows: list[Row]) -> list[str]:
    first = rows[0]
    about = (
        f"**{first['target']}**: {first['labels']}; {first['protocol']}; {seeds(first)} seeds; the "
        f"largest class is {100 * first['majority_rate']:.1f} %. {_heard(first)}"
    )
    return table(rows, about, HEADS, _cells)


def _cells(row: Row, wa: Row) -> list[str]:
    return [
        row["system"],
        mean(row),
        interval(row),
        mean(wa),
        "–" if row.get("difference") is None else f"{100 * row['difference']:+.2f}",
        p_value(row.get("p_seeds")),
        p_value(over_speakers(row)),
        *(_end(row, name) for name in ENDS),
    ]


def _end(row: Row, name: str) -> str:
    value = row["convergence"]["last_epoch"].get(name)
    return "–" if value is None else f"{value:.2f}"


def _heard(row: Row) -> str:
    return f"Features: {row['features'].split(';')[0]}. Run {row['date']} on {row['machine']}."


def _reading(rows: list[Row]) -> list[str]:
    """Where the autoencoder helps and where not, counted."""
    judged = [r for r in rows if r["metric"] == "uar" and r.get("difference") is not None]
    if not judged:
        return []
    lines = ["## Reading", ""]
    for title, chosen in (
        ("vanilla", [r for r in judged if r["system"].endswith("vanilla")]),
        ("optimized", [r for r in judged if r["system"].endswith("optimized")]),
    ):
        chosen = [r for r in chosen if r["labelled"] == 1 and "ablation" not in r["recipe"]]
        if not chosen:
            continue
        better = [r for r in chosen if r["difference"] > 0]
        sure = [r for r in better if r.get("p_seeds") is not None and r["p_seeds"] < 0.05]
        worse = [r for r in chosen if r["difference"] < 0]
        beyond = [r for r in chosen if over_speakers(r) is not None and over_speakers(r) < 0.05]
        average = sum(r["difference"] for r in chosen) / len(chosen)
        lines.append(
            f"- **{title}** is above its baseline in {len(better)} of {len(chosen)} comparisons "
            f"(beyond the spread of seeds, p < 0.05, in {len(sure)}) and below it in {len(worse)}; "
            f"the mean difference is {100 * average:+.2f} points of UAR. Over speakers "
            f"{len(beyond)} of the differences, in either direction, {_has(beyond)} p < 0.05."
        )
        for row in sure:
            lines.append(f"    - better: {named(row)}")
        for row in beyond:
            if row["difference"] < 0:
                lines.append(f"    - worse: {named(row)}")
    return [*lines, *_few_labels(judged), *_ablations(rows), ""]


def _few_labels(judged: list[Row]) -> list[str]:
    """What the utterances without labels, and foreign audio, do for the autoencoder."""
    lines = []
    for words, others in (("own audio alone", False), ("foreign audio too", True)):
        chosen = [
            r
            for r in judged
            if r["recipe"] == "aae-semisupervised" and r["system"].endswith("others") == others
        ]
        if not chosen:
            continue
        said = ", ".join(
            f"{100 * r['labelled']:g} %: {100 * r['difference']:+.2f}"
            f" (bootstrap {p_value(over_speakers(r))})"
            for r in chosen
        )
        lines.append(
            f"- **Few labels** on RAVDESS, optimized with {words}, in points of UAR against the "
            f"baseline that learns from the same labels: {said}. It is ahead in "
            f"{sum(r['difference'] > 0 for r in chosen)} of {len(chosen)}."
        )
    return lines


def _ablations(rows: list[Row]) -> list[str]:
    """What leaving a part out does, against the whole and against the baseline."""
    found = {
        r["system"]: r for r in rows if r["recipe"] == "aae-ablations" and r["metric"] == "uar"
    }
    whole = found.get("optimized")
    if whole is None:
        return []
    apart = {
        name: 100 * (row["mean"] - whole["mean"])
        for name, row in found.items()
        if name.startswith("without")
    }
    said = ", ".join(f"{name} {value:+.2f}" for name, value in apart.items())
    sure = [name for name in apart if (over_speakers(found[name]) or 1) < 0.05]
    return [
        f"- **Ablations** on EMO-DB, in points of UAR against optimized: {said}. Against the "
        f"baseline {len(sure)} of them differ over speakers with p < 0.05."
    ]


def _has(rows: list[Row]) -> str:
    return "has" if len(rows) == 1 else "have"
