"""The page of `benchmarks/voice_tone.py`: what each part of voice tone is worth."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from systems import Row, interval, mean, over_speakers, p_value

HEAD = """# Voice tone

Made by `python benchmarks/voice_tone.py` with `recipes/voice-tone.toml`; each row can be computed
again from the predictions beside this page:
`voicetone evaluate --recompute docs/results/voice-tone.json`. What the systems are:
[Voice tone](../voice-tone.md); what the protocols mean: [Protocols](../protocols.md).

- Four joint folds: each holds out four of RAVDESS' actors, two or three of EMO-DB's speakers, one
  of nEMO's three (in three of the folds) and one or two of fsdd's. Every stage of a fold,
  pretraining included, hears only the others. One seed.
- *Difference*: in UAR to `acoustic`, which has no stage before the tone, on the same folds; what
  each part is worth, on the same two folds, as said there; *p*: two-sided, paired bootstrap over
  speakers, not corrected for how many comparisons there are. The interval of a score is a 95 %
  bootstrap over speakers; with fewer than five there is none.
- `hybrid` has the stages of the published system: a front end pretrained by BEST-RQ, a recogniser
  trained on `<sentiment> transcript` on it, a light classifier on the frozen encoder. Other than
  published, the front end goes on learning with the recogniser: it has heard hours, not tens of
  thousands of them (`fixed-front` holds it fixed). The others leave something out, see
  [the end of the page](#systems). `svm`: ComParE_2016 functionals and a linear
  SVM. `text`: a logistic regression on the true transcripts.
- The shipped `tone-small` is trained as `acoustic` is, on more speakers and for longer; its own
  scores are on other folds, so `acoustic` stands for it here. What costs most is on two folds; one
  seed and few speakers tell no small differences.
- `acoustic` is not merely `hybrid` with less: it trains 1,000 steps, all of them on the tone, where
  `hybrid` trains 3,200 in three stages and has a Conformer more.
- Every sentence of these corpora is spoken in every emotion, so words carry nothing here: `text`
  should be at chance, and what `hybrid` gains it does not gain from what is said.
"""
SYSTEMS = {
    "hybrid": "all stages",
    "fixed-front": "as published: the front end is fixed once it is pretrained",
    "acoustic": "no stage before the tone: all of the network learns from the tone's labels",
    "without-ssl": "no pretraining; the front end learns with the recogniser",
    "without-asr": "no recogniser: the classifier stands on the pretrained front end",
    "without-augmentation": "clips as recorded, in all stages; masks over time stay",
    "without-balance": "sentiments as frequent as they are, and losses without weights",
    "not-frozen": "all stages, but front end and encoder go on learning from the tone",
    "hybrid-first": "`hybrid` on the first two folds",
    "acoustic-first": "`acoustic` on the first two folds",
    "across-*": "trained without that corpus: all stages, the same `not-frozen`, and `acoustic`",
    "svm": "ComParE_2016 functionals, a linear SVM",
    "text": "the true transcripts alone",
}
MAIN = ("hybrid", "acoustic", "svm", "text")
PARTS = (
    "hybrid-first",
    "acoustic-first",
    "not-frozen",
    "fixed-front",
    "without-ssl",
    "without-asr",
    "without-augmentation",
    "without-balance",
)
NAMES = {"ravdess": "RAVDESS 01-16", "emodb": "EMO-DB", "nemo": "nEMO"}


def page(rows: list[Row], kept: Path) -> str:
    """The whole page.

    Args:
        rows: of all systems.
        kept: folder of what the stages told.
    """
    lines = [HEAD]
    inside = [r for r in rows if r["system"] in MAIN]
    parts = [r for r in rows if r["system"] in PARTS]
    parts.sort(key=lambda r: PARTS.index(r["system"]))
    if reading := _reading(rows):
        lines += ["## Reading", "", *reading, ""]
    for space in ("sentiment", "emotion"):
        lines += [f"## {space.capitalize()}, speakers whom nothing heard", ""]
        for corpus, name in NAMES.items():
            lines += _table([r for r in inside if _is(r, corpus, space)], name)
    if len({r["system"] for r in parts}) > 1:
        lines += ["## What each part is worth", ""]
        lines += [
            "The first two folds. Differences to `hybrid-first`, which has all parts; those of"
        ]
        lines += ["`not-frozen` to `acoustic-first`, which has no stage before the tone.", ""]
        for corpus, name in NAMES.items():
            for space in ("sentiment", "emotion"):
                lines += _table([r for r in parts if _is(r, corpus, space)], name)
    beyond = [r for r in rows if r["system"].startswith("across")]
    if beyond:
        lines += ["## A corpus that nothing heard", ""]
        lines += ["Trained on the other two, tested on all of one. Differences to `acoustic`.", ""]
        for corpus, name in NAMES.items():
            lines += _table([r for r in beyond if _is(r, corpus, "sentiment")], name)
    lines += _sweeps(kept) + _groups(inside, kept) + _words(kept) + _cost(kept) + _pretraining(kept)
    lines += ["## Systems", ""]
    for name, about in SYSTEMS.items():
        there = any(fnmatch(row["system"], name) for row in rows)
        lines.append(f"- `{name}`: {about}{'' if there else ' (not trained: no row above)'}")
    lines.append("")
    return "\n".join(lines)


def _is(row: Row, corpus: str, space: str) -> bool:
    return row["corpus"] == corpus and row["space"] == space


def _table(rows: list[Row], name: str) -> list[str]:
    if not rows:
        return []
    by = {(r["system"], r["metric"]): r for r in rows}
    first = rows[0]
    lines = [
        f"**{name}**: {first['labels']}.",
        "",
        "| system | UAR % | interval | accuracy % | difference | p |",
        "|---|---|---|---|---|---|",
    ]
    for system in dict.fromkeys(r["system"] for r in rows):
        row, wa = by[system, "uar"], by[system, "wa"]
        apart = f"{100 * row['difference']:+.1f}" if "difference" in row else "–"
        cells = [system, mean(row), interval(row), mean(wa), apart, p_value(over_speakers(row))]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _reading(rows: list[Row]) -> list[str]:
    """What is beyond chance, and the mean over corpora."""
    lines = []
    mine = [r for r in rows if r["metric"] == "uar"]
    for system in dict.fromkeys(r["system"] for r in mine):
        apart = [r for r in mine if r["system"] == system and "difference" in r]
        if not apart:
            continue
        average = 100 * sum(r["difference"] for r in apart) / len(apart)
        sure = [r for r in apart if (over_speakers(r) or 1.0) < 0.05]
        told = "; ".join(
            f"{NAMES[r['corpus']]} {r['space']} {100 * r['difference']:+.1f} "
            f"(p {p_value(over_speakers(r))})"
            for r in sure
        )
        lines.append(
            f"- `{system}` against `{_base(apart[0])}`: {average:+.1f} points of UAR on average "
            f"over {len(apart)} comparisons; beyond chance over speakers: {told or 'none'}."
        )
    return lines


def _base(row: Row) -> str:
    """What a row is compared with."""
    end = f"-{row['corpus']}-{row['space']}.parquet"
    return Path(row["baseline"]).name.removesuffix(end)


def _sweeps(kept: Path) -> list[str]:
    """UAR of held-out speakers under noise and on telephones."""
    from voicetone.evaluation.metrics import uar
    from voicetone.evaluation.table import read_predictions

    systems = [name for name in SYSTEMS if list((kept / "sweep").glob(f"{name}-*.parquet"))]
    if not systems:
        return []
    found: dict[str, dict[str, str]] = {}
    for name in systems:
        for path in sorted((kept / "sweep").glob(f"{name}-*.parquet")):
            table = read_predictions(path)
            score = uar(table.truth_codes, table.predicted_codes)
            condition = path.stem.removeprefix(f"{name}-").replace("-", " ")
            found.setdefault(condition, {})[name] = f"{100 * score:.1f} ({len(table)})"
    lines = [
        "## Noise and telephones",
        "",
        "Sentiment on RAVDESS' held-out speakers, UAR % (clips), of recordings as they are and",
        "changed; noises of a fold that nothing heard, rooms that training may have drawn. Made by",
        "`benchmarks/voice_sweep.py`.",
        "",
        f"| condition | {' | '.join(systems)} |",
        "|---" * (len(systems) + 1) + "|",
    ]
    for condition, scores in found.items():
        lines.append(f"| {condition} | {' | '.join(scores.get(s, '–') for s in systems)} |")
    return [*lines, ""]


def _groups(rows: list[Row], kept: Path) -> list[str]:
    """UAR of women and men, and of ages where a corpus tells them."""
    from voicetone.evaluation.fairness import fairness
    from voicetone.evaluation.table import read_predictions

    lines = [
        "## Groups of speakers",
        "",
        "UAR of each group minus that of all, in points, with a 95 % interval over speakers if",
        "there are five or more; what is *beyond* its limit is said by `voicetone evaluate`.",
        "",
        "| system | corpus | task | group | UAR % | difference | beyond |",
        "|---|---|---|---|---|---|---|",
    ]
    count = len(lines)
    for row in rows:
        if row["metric"] != "uar" or row["system"] not in ("hybrid", "acoustic", "svm"):
            continue
        name = f"{row['system']}-{row['corpus']}-{row['space']}.parquet"
        for kind in fairness(read_predictions(kept / name)):
            for group in kind.groups if kind.kind in ("sex", "age") else ():
                apart = f"{100 * group.gap:+.1f}"
                if group.low is not None and group.high is not None:
                    apart += f" ({100 * group.low:+.1f} to {100 * group.high:+.1f})"
                cells = [row["system"], NAMES[row["corpus"]], row["space"], group.name]
                cells += [f"{100 * group.uar:.1f}", apart, group.beyond or "–"]
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""] if len(lines) > count else []


def _told(kept: Path) -> dict[str, Any]:
    """What the stages of each system told."""
    found = {}
    for name in SYSTEMS:
        path = kept / f"{name}.json"
        if path.exists():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _words(kept: Path) -> list[str]:
    """Error rates of the recognisers."""
    lines = [
        "## Words",
        "",
        "*known speaker*: fsdd's own test part, whose speakers are in training, so speaker-",
        "dependent. *new speaker*: speakers whom nothing heard. *new sentence*: nEMO's sentences",
        "that no speaker said in training. Errors are pooled over folds. Token: the sentiment that",
        "the decoder says before the words. `digits`: the same recogniser on fsdd alone, without",
        "pretraining and sentiments; each of its six speakers is left out once",
        "(`benchmarks/voice_digits.py`).",
        "",
        "| system | clips | WER % | CER % | CTC alone, WER % | token's UAR % |",
        "|---|---|---|---|---|---|",
    ]
    count = len(lines)
    alone = kept / "digits.json"
    digits = {"digits": json.loads(alone.read_text(encoding="utf-8"))} if alone.exists() else {}
    for system, told in (_told(kept) | digits).items():
        for part in told.get("words", ()):
            rates = [_percent(part[k]) for k in ("wer", "cer", "ctc_wer", "sentiment_uar")]
            lines.append(f"| {system} | {part['group']} ({part['clips']}) | {' | '.join(rates)} |")
    return [*lines, ""] if len(lines) > count else []


def _percent(score: dict[str, Any] | None) -> str:
    if score is None:
        return "–"
    text = f"{100 * score['value']:.1f}"
    if score["low"] is None:
        return text
    return f"{text} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def _cost(kept: Path) -> list[str]:
    """What a window costs beside a transcript of it."""
    path = kept / "cost.json"
    if not path.exists():
        return []
    told = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "## What a window costs",
        "",
        f"Median on clips of RAVDESS, PyTorch, one thread; {told['machine']}, {told['date']}; the",
        f"transcripts have {told['letters']:.0f} characters on average. Made by",
        "`benchmarks/bench_voice_cost.py`.",
        "",
        "| part | ms | times the tone |",
        "|---|---|---|",
    ]
    for name, row in told["rows"].items():
        lines.append(f"| {name} | {row['ms']:.2f} | {row['of_the_tone']:.1f} |")
    if "bundle_mb" in told:
        lines += ["", f"The whole bundle: {told['bundle_mb']} MB, {told['times_real_time']} times"]
        lines += ["real time on one core."]
    return [*lines, ""]


def _pretraining(kept: Path) -> list[str]:
    """How the pretraining of each fold ended."""
    told = _told(kept).get("hybrid", {}).get("pretrain")
    if not told:
        return []
    lines = [
        "## Pretraining",
        "",
        "Of each fold, on its validation speakers: how often a hidden frame's code is guessed,",
        "how often the most frequent code would be right, and how many codes are used.",
        "",
    ]
    return [*lines, *(f"- fold {k}: {_facts(fold)}" for k, fold in enumerate(told)), ""]


def _facts(fold: dict[str, Any]) -> str:
    codes, masked = fold["codes"], fold["masked"]
    return (
        f"{100 * masked['accuracy']:.1f} % guessed, {100 * masked['most_frequent']:.1f} % by the "
        f"most frequent code, {100 * masked['repeat_last']:.1f} % by repeating the last one heard; "
        f"{100 * codes['used']:.0f} % of the codes used, perplexity {codes['perplexity']:.0f}"
    )
