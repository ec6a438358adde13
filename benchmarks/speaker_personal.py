"""What personal calibration gains and costs on published predictions.

    python benchmarks/speaker_personal.py [NAME...]

NAMEs choose some of `TABLES`; without any, those are measured that are not in
`docs/results/personal.json` yet; `--page` measures nothing. The page is made from that file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
TABLES = {
    "svm-ravdess16": "baselines/svm-ravdess16.parquet",
    "svm-ravdess16-speaker": "baselines/svm-ravdess16-speaker.parquet",
    "mlp-ravdess16": "baselines/mlp-ravdess16.parquet",
    "aae-ravdess16": "aae/aae-ravdess16-emotion-utt-optimized.parquet",
    "acoustic-ravdess": "voice-tone/acoustic-ravdess-emotion.parquet",
    "acoustic-ravdess-sentiment": "voice-tone/acoustic-ravdess-sentiment.parquet",
    "svm-emodb4": "baselines/svm-emodb4.parquet",
    "mlp-emodb4": "baselines/mlp-emodb4.parquet",
    "aae-emodb4": "aae/aae-emodb4-emotion-utt-optimized.parquet",
    "acoustic-emodb": "voice-tone/acoustic-emodb-emotion.parquet",
    "svm-nemo3": "baselines/svm-nemo3.parquet",
    "acoustic-nemo": "voice-tone/acoustic-nemo-emotion.parquet",
}
SEEDS = 2
"""Of a run with several, the first ones are enough: the question is of speakers."""
DIGITS = 5
HEAD = """# Personal calibration

Made by `python benchmarks/speaker_personal.py` from the predictions beside the pages of
[baselines](baselines.md), [adversarial autoencoders](aae.md) and [voice tone](voice-tone.md); all
numbers are in `docs/results/personal.json`. The methods, and how to use them:
[Personal calibration](../personal.md).

- Half of each speaker's clips are for enrolment, the other half is tested, split anew four times.
  Test speakers are unknown to the models. Of a judged speaker nothing but the enrolment is used, of
  the others all clips, whose predictions come from models that may have learnt from the judged
  one. How strongly clips count is chosen, in NLL, by the other speakers.
- *Without*: UAR in percent, the model as it is, with a temperature from the other speakers.
  Cells: points of UAR gained, with a 95 % interval, paired over speakers. Where the interval
  excludes 0 they are **bold**. No correction is made for how many comparisons there are. `=`: the
  other speakers chose to change nothing. nEMO has three speakers: no intervals.
- *To another's*: with the most clips, how far the score lies above that with the calibration of
  *another* speaker. Near 0, anybody's would do as well; as large as the gain or larger, another's
  gives nothing or does harm, so it is the speaker that helps.
- RAVDESS: 16 speakers, 8 emotions or 3 sentiments. EMO-DB: 10 speakers, 4 emotions. nEMO: 3
  speakers, 6 emotions. A clip is a sentence, on average of 3.7 s, 2.8 s and 2.5 s. One or two
  seeds. `speaker`: features normalised per speaker already, by
  all of the speaker's unlabelled audio, tested clips too. Where a model has that, its outputs have
  little left to correct.
- Acted corpora have every label about equally often for each speaker. `centre` and `match` push
  what is said of a speaker towards what is said of others, which is right here and wrong for a
  person who *is* mostly sad: look at the calls of one tone before believing the first tables.
"""
TITLES = {
    "as they come": ("Unlabelled clips as they come", "Clips at random: all labels."),
    "half of one label": (
        "Half of the clips of one label",
        "The strength is chosen with clips as they come, because nobody knows beforehand.",
    ),
    "all of one label": ("All clips of one label", "As when the first seconds are all neutral."),
    "call of one tone": (
        "Calls of one tone",
        "Half of the enrolment and half of the tested clips are of one label, another one for "
        "each speaker and split.",
    ),
    "labelled": ("Labelled clips", "So many of each label."),
}
METHODS = ("centre", "match", "prior", "bias", "means")


def measure(name: str, **changes: Any) -> dict[str, Any]:
    """What is measured on one table; `changes` are those of a `Plan`."""
    from voicetone.evaluation.personal_measured import Plan
    from voicetone.evaluation.personal_measured import measure as measured
    from voicetone.evaluation.table import read_predictions

    table = read_predictions(RESULTS / TABLES[name])
    found = measured(table.select(table.seed < SEEDS), Plan(**changes))
    return {key: rounded(value) for key, value in found.items()}


def rounded(value: Any) -> Any:
    """The same data with all numbers rounded."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    lines = [HEAD, *reading(found)]
    for kind, (title, about) in TITLES.items():
        lines += [f"## {title}", "", about, ""]
        for method in METHODS:
            lines += table(found, kind, method)
    lines += ["## Strength", "", *strengths(found)]
    lines += ["## Calibration", "", "ECE without → with, most clips.", "", *errors(found)]
    return "\n".join(lines)


def rows_of(measured: dict[str, Any], kind: str, method: str) -> list[dict[str, Any]]:
    """By ascending clips."""
    chosen = [r for r in measured["rows"] if (r["enrolment"], r["method"]) == (kind, method)]
    return sorted(chosen, key=lambda r: r["clips"])


def table(found: dict[str, Any], kind: str, method: str) -> list[str]:
    """One method with one kind of enrolment, a line for each table of predictions."""
    rows = {name: rows_of(measured, kind, method) for name, measured in found.items()}
    amounts = sorted({r["clips"] for each in rows.values() for r in each})
    if not amounts:
        return []
    if all(r["verdict"] == "no change" for each in rows.values() for r in each):
        return [f"**`{method}`**: the other speakers always chose to change nothing.", ""]
    head = ["", "without", *(f"{n}" for n in amounts), "to another's", "worse for"]
    lines = [f"**`{method}`**, clips:", ""]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, each in rows.items():
        if not each:
            continue
        by = {r["clips"]: r for r in each}
        last = each[-1]
        cells = [name, f"{100 * last['uar_without']:.1f}"]
        cells += [gain(by[n]) if n in by else "–" for n in amounts]
        cells += [f"{100 * last['over_control']:+.1f}", f"{last['worse']} of {last['speakers']}"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def gain(row: dict[str, Any]) -> str:
    """A cell: the difference and its interval."""
    if row["verdict"] == "no change":
        return "="
    text = f"{100 * row['difference']:+.1f}"
    if row["low"] is not None:
        text += f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    return f"**{text}**" if row["verdict"] in ("better", "worse") else text


def strengths(found: dict[str, Any]) -> list[str]:
    """How often the other speakers chose each pseudo-count, over all tables and clips."""
    kinds = [(m, "as they come") for m in ("centre", "match", "prior")]
    kinds += [(m, "labelled") for m in ("bias", "means")]
    names = list(next(iter(found.values()))["rows"][0]["strengths"])
    lines = ["How often the other speakers chose each pseudo-count; `inf` changes nothing.", ""]
    lines += [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method, kind in kinds:
        rows = [r for measured in found.values() for r in rows_of(measured, kind, method)]
        total = sum(sum(r["strengths"].values()) for r in rows)
        shares = [sum(r["strengths"][n] for r in rows) / max(1, total) for n in names]
        lines.append(f"| `{method}`, {kind} | {' | '.join(f'{s:.0%}' for s in shares)} |")
    return [*lines, ""]


def errors(found: dict[str, Any]) -> list[str]:
    """ECE with the most clips, as they come or labelled."""
    kinds = [("centre", "as they come"), ("match", "as they come"), ("bias", "labelled"),
             ("means", "labelled")]  # fmt: skip
    lines = [f"| | {' | '.join(m for m, _ in kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for name, measured in found.items():
        last = [rows_of(measured, kind, method)[-1] for method, kind in kinds]
        cells = [f"{r['ece_without']:.3f} → {r['ece']:.3f}" for r in last]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return [*lines, ""]


def reading(found: dict[str, Any]) -> list[str]:
    """How often each method is better or worse, over the tables that have intervals."""
    lines = ["## Reading", "", "Tables of predictions with intervals, with the most clips:", ""]
    lines += ["| enrolment | method | better | open | worse | no change | mean gain |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for kind in TITLES:
        for method in METHODS:
            last = [rows_of(m, kind, method)[-1] for m in found.values()
                    if rows_of(m, kind, method)]  # fmt: skip
            judged = [r for r in last if r["low"] is not None]
            if not judged:
                continue
            said = [r["verdict"] for r in judged]
            counts = [str(said.count(v)) for v in ("better", "open", "worse", "no change")]
            mean = sum(r["difference"] for r in judged) / len(judged)
            lines.append(f"| {kind} | `{method}` | {' | '.join(counts)} | {100 * mean:+.1f} |")
    return [*lines, ""]


def to_text(found: dict[str, Any]) -> str:
    """JSON with a line for each row: there are hundreds."""
    tables = []
    for name, measured in found.items():
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in measured["rows"])
        rest = json.dumps({**measured, "rows": []}, ensure_ascii=False)
        tables.append(f"{json.dumps(name)}: {rest.removesuffix(']}')}\n{rows}\n]}}")
    return "{\n" + ",\n".join(tables) + "\n}\n"


def main(words: list[str]) -> None:
    """Measure what is asked for and write file and page."""
    path = RESULTS / "personal.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    names = [] if words == ["--page"] else words or [n for n in TABLES if n not in found]
    for name in names:
        found[name] = measure(name)
        found = {n: found[n] for n in TABLES if n in found}
        path.write_text(to_text(found), encoding="utf-8", newline="\n")
    path.write_text(to_text(found), encoding="utf-8", newline="\n")
    (RESULTS / "personal.md").write_text(page(found), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
