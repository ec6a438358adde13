"""The page of the mixture's codes: tables, and sentences that are computed from the rows."""

from __future__ import annotations

import json

from systems import RESULTS, Row, interval, mean, over_speakers, p_value, seeds, table

HEADS = (
    *("system", "UAR %", "interval", "accuracy %", "difference", "of the difference"),
    *("t-test", "bootstrap"),
)
MATCH = (
    "recipe",
    "codes",
    "AUC",
    "within classes",
    "of components",
    "distance",
    "of samples",
    "D",
    "G",
    "x̂ error",
)
PAPER = {"raw": 57.88, "gmm-aae": 56.38, "autoencoder": 53.92, "lda": 48.67, "pca": 43.12}
"""Sahu et al. (2017), Table 1: UAR in percent on IEMOCAP."""
LATENTS, PLANE = "gmm-aae/latents-emodb4.json", "gmm-aae/plane-emodb4.png"
ABOUT = """# Codes on a mixture of Gaussians

Made by `python benchmarks/gmm_aae.py` with the recipes in `recipes/`; each row can be computed
again from the predictions beside this page: `voicetone evaluate --recompute
docs/results/gmm-aae.json`.
What the systems are: [Codes on a mixture of Gaussians](../gmm-aae.md); what the protocols mean:
[Protocols](../protocols.md).

- UAR and accuracy of the predictions pooled over folds, mean and SD over seeds. The interval is a
  95 % bootstrap over speakers; with fewer than five speakers there is none.
- *Difference*: to `raw`, the classifier on the 1,582 features, on the same folds, in points of UAR,
  with its 95 % interval over speakers, paired. *t-test*: p of a one-tailed Welch t-test over seeds
  that the system is better; *bootstrap*: two-sided p of the paired bootstrap over speakers, which
  says whether other speakers would give the same order.
- `raw`, `lda` and `pca` have no random weights: their seeds differ by the solver's at most.
- `synthetic-only` learns from 100 made-up samples of each class and from no real one; `real+100`
  from both; `real+balanced` fills every class up to the largest.
- Every sentence of these corpora is spoken in every emotion, so each tested sentence is in
  training too, spoken by others.
- nEMO has three speakers here: no interval, and networks that learn from one of them.
- openSMILE, which makes the features, is for research and education only.
"""


def page(rows: list[Row]) -> str:
    """The page as Markdown."""
    lines = [ABOUT, *_reading(rows), *_matches(rows), *_known()]
    for recipe in dict.fromkeys(r["recipe"] for r in rows):
        lines += [f"## {recipe}", ""]
        lines += _table([r for r in rows if r["recipe"] == recipe])
    return "\n".join(lines)


def _table(rows: list[Row]) -> list[str]:
    first = rows[0]
    about = (
        f"{first['labels'][:1].upper()}{first['labels'][1:]}; {first['protocol']}; "
        f"{seeds(first)} seeds; the largest class is {100 * first['majority_rate']:.1f} %. "
        f"Features: {first['features'].split(';')[0]}. Run {first['date']} on {first['machine']}."
    )
    return table(rows, about, HEADS, _cells)


def _cells(row: Row, wa: Row) -> list[str]:
    apart, between = row.get("difference"), row.get("difference_interval")
    return [
        row["system"],
        mean(row),
        interval(row),
        mean(wa),
        "–" if apart is None else f"{100 * apart:+.2f}",
        "–" if not between else f"{100 * between[0]:+.1f} to {100 * between[1]:+.1f}",
        p_value(row.get("p_seeds")),
        p_value(over_speakers(row)),
    ]


def _matches(rows: list[Row]) -> list[str]:
    """Whether codes of strangers follow the mixture."""
    lines = [
        "## Match with the mixture",
        "",
        "*AUC* of telling codes of the test speakers, each by the network that has not met them, "
        "from as many samples of the mixture of the same classes, all together: 0.5 is not at all. "
        "*Within classes*: the mean over the components, which also sees whether each class is at "
        "its place; *of components*: the best and the worst. Above 0.65 in either a run has failed "
        "to match. *Distance* from the middle, of codes and of samples. Stretched: distances "
        "mapped so that those of the validation speakers are the mixture's. *D*, *G*: the "
        "adversarial losses at the end; 0.693 where nothing can be told, 0.68 and 0.75 in the "
        "paper. *x̂ error*: on validation speakers, about 1.08 in the paper.",
        "",
        f"| {' | '.join(MATCH)} |",
        "|---" * len(MATCH) + "|",
    ]
    for row in rows:
        found = row["convergence"]
        if row["metric"] != "uar" or "match_codes" not in found:
            continue
        ends = found["last_epoch"]
        for kind, word in (("match_codes", "as they are"), ("match_stretched", "stretched")):
            match = found.get(kind)
            if match is None:
                continue
            each = {k: v for k, v in match["components"].items() if v is not None}
            worst, best = max(each, key=lambda k: each[k]), min(each, key=lambda k: each[k])
            cells = [
                row["recipe"],
                word,
                _judged(match["auc"], match["limit"]),
                _judged(match["within"], match["limit"]),
                f"{best} {each[best]:.2f}, {worst} {each[worst]:.2f}",
                f"{match['mean_distance']:.1f}",
                f"{match['prior_distance']:.1f}",
                *(_end(ends, name) for name in ("discriminator", "generator")),
                _end(ends, "validation_reconstruction"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _known() -> list[str]:
    """What EMO-DB's codes know of the emotion and of the speaker, as `voicetone latents` found."""
    path = RESULTS / LATENTS
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "## What two numbers know",
        "",
        f"By linear probes (`voicetone latents`) on {found['run']}, UAR in percent on speakers "
        "whom neither network nor probe has met; for speaker and sentence on other utterances. The "
        "networks learn the emotion, and what they were not asked for is gone with the rest.",
        "",
        "| asked | codes | features | chance |",
        "|---|---|---|---|",
    ]
    for entry in found["probes"]:
        cells = [entry["question"]]
        for kind in ("codes", "features"):
            value = entry["from"][kind]["held_out_uar"]
            cells.append("–" if value is None else f"{100 * value:.1f}")
        lines.append(f"| {' | '.join(cells)} | {100 * entry['chance']:.1f} |")
    return [*lines, "", f"![Codes of strangers beside samples]({PLANE})", ""]


def _judged(auc: float | None, limit: float) -> str:
    if auc is None:
        return "too few"
    return f"{auc:.2f}, {'failed' if auc > limit else 'held'}"


def _end(ends: dict[str, float], name: str) -> str:
    return f"{ends[name]:.2f}" if name in ends else "–"


def _reading(rows: list[Row]) -> list[str]:
    """What the paper found, and what is found here."""
    published = ", ".join(f"{name} {value:.1f}" for name, value in PAPER.items())
    lines = [
        "## Reading",
        "",
        f"On IEMOCAP the paper has, in UAR %: {published}: two dimensions close to the features "
        "and clearly above those of LDA and PCA; made-up samples alone 33.75 where chance is 25, "
        "and 58.38 together with the real ones, which is no certain gain. Here:",
        "",
    ]
    for recipe in dict.fromkeys(r["recipe"] for r in rows):
        found = {r["system"]: r for r in rows if r["recipe"] == recipe and r["metric"] == "uar"}
        lines += [f"- **{recipe}**: {' '.join(_sentences(found))}"]
    return [*lines, ""]


def _sentences(found: dict[str, Row]) -> list[str]:
    said = []
    order = sorted(
        (n for n in found if not n.startswith(("real+", "synthetic"))),
        key=lambda n: -found[n]["mean"],
    )
    said.append(", ".join(f"{n} {100 * found[n]['mean']:.1f}" for n in order) + ".")
    codes = found.get("gmm-aae") or found.get("codes-of-ravdess")
    if codes is not None and codes.get("difference") is not None:
        said.append(
            f"The mixture's two numbers are {100 * codes['difference']:+.1f} points from the "
            f"features{_p_words(codes)}"
            + "".join(_above(codes, found.get(name), name) for name in ("lda", "pca"))
            + "."
        )
    only = found.get("synthetic-only")
    if only is not None:
        chance = 100 / only["classes"]
        low = only["low"]
        over = (
            ""
            if low is None
            else (
                ", above it beyond chance" if 100 * low > chance else ", not above it beyond chance"
            )
        )
        said.append(
            f"Made-up samples alone give {100 * only['mean']:.1f}, where chance is "
            f"{chance:.1f}{over}."
        )
    with_real = [r for n, r in found.items() if n.startswith("real+")]
    if with_real:
        better = [r for r in with_real if r["difference"] > 0]
        sure = [r for r in with_real if (over_speakers(r) or 1) < 0.05]
        each = ", ".join(f"{r['system']} {100 * r['difference']:+.1f}" for r in with_real)
        said.append(
            f"Beside the real ones they change UAR by {each}: up in {len(better)} of "
            f"{len(with_real)}, and beyond chance over speakers, in either direction, in "
            f"{len(sure)}."
        )
    return said


def _p_words(row: Row) -> str:
    p = over_speakers(row)
    return "" if p is None else f" (bootstrap {p_value(p)})"


def _above(codes: Row, other: Row | None, name: str) -> str:
    if other is None:
        return ""
    return f", {100 * (codes['mean'] - other['mean']):+.1f} from {name.upper()}'s two"
