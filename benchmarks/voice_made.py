"""Words, tone, and both: voice tone on the made corpus of `made_speech.py`.

    python benchmarks/made_speech.py made
    python benchmarks/voice_made.py made [SYSTEM...]

Each system is `recipes/voice-tone-made.toml` with something left out; its run is in
`runs/voice-made/SYSTEM` and goes on from where it stopped. Without names nothing is trained: the
page `docs/results/voice-made.md`, `voice-made.json` and the predictions beside them are made from
the runs that there are.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from systems import METRICS, RESULTS, ROOT, Row, interval, mean, over_speakers, p_value
from voice_text import text_only
from voice_tone import PRETRAINED, RECOGNISED, keep_table

RUNS = ROOT / "runs" / "voice-made"
KEPT = RESULTS / "voice-made"
RECIPE = ROOT / "recipes" / "voice-tone-made.toml"
SVM_RECIPE = ROOT / "recipes" / "svm-made.toml"
SYSTEMS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "hybrid": ("all stages, the encoder fixed", lambda stages: stages),
    "not-frozen": (
        "all stages, the encoder goes on learning",
        lambda stages: {**stages, "frozen": False},
    ),
    "acoustic": (
        "no stage before the tone: it learns from the label alone, words included",
        lambda stages: {"frozen": False},
    ),
}
TEXT, SVM = "text", "svm"
EVERY = (*SYSTEMS, SVM, TEXT)
CEILING = "0.556"
HEAD = f"""# Words and tone together

Made by `python benchmarks/voice_made.py made` with `recipes/voice-tone-made.toml`; each row can be
computed again: `voicetone evaluate --recompute docs/results/voice-made.json`. The corpus is made by
espeak-ng: [Words and tone apart](../made-speech.md) says how. **No person is heard in it**, and the
label is a rule. What is shown is whether a system uses words *and* tone, and nothing else.

Test voices and test sentences are in no training; the words are. Who hears words alone, or tone
alone, reaches a UAR of {CEILING} at most. *Difference*: to `svm`; *p*: two-sided, paired
bootstrap over voices. One seed. `acoustic` is given no transcripts, but its labels depend on 42
words, so it may well learn to hear those; what is acoustic alone is `svm`, whose functionals know
no order.
"""


def recipe_of(name: str, corpus: Path) -> Any:
    """The recipe of a system."""
    from voicetone.training.recipe import dataclass_from, read_recipe
    from voicetone.training.voice_recipe import VoiceRecipe

    data = read_recipe(RECIPE, [])
    data["corpora"][0]["name"] = str(corpus)
    data["stages"] = SYSTEMS[name][1](data["stages"])
    data |= {"out": str(RUNS / name), "jobs": 1}
    return dataclass_from(VoiceRecipe, data, RECIPE)


def train(name: str, corpus: Path) -> None:
    """A system, or what is left of it; `not-frozen` takes the stages of `hybrid`."""
    from voicetone.training.tone_run import stage_folder
    from voicetone.training.tone_ship import run_tone

    source, mine = (stage_folder(RUNS / n, 0) for n in ("hybrid", "not-frozen"))
    if name == "not-frozen" and (source / "words.parquet").exists():
        mine.mkdir(parents=True, exist_ok=True)
        for file in (*PRETRAINED, *RECOGNISED):
            if not (mine / file).exists():
                shutil.copy2(source / file, mine / file)
    run_tone(recipe_of(name, corpus))


def train_svm(corpus: Path) -> None:
    """Functionals, which hear next to nothing of the words."""
    from voicetone.training.classifier_recipe import ClassifierRecipe
    from voicetone.training.classifier_run import run_classifier
    from voicetone.training.recipe import dataclass_from, read_recipe

    data = read_recipe(SVM_RECIPE, [])
    data["corpora"][0]["name"] = str(corpus)
    run_classifier(dataclass_from(ClassifierRecipe, {**data, "out": str(RUNS / SVM)}, SVM_RECIPE))


def keep(corpus: Path) -> None:
    """Predictions of the runs that are done, and what their recognisers heard."""
    from voicetone.evaluation.table import read_predictions

    for name in SYSTEMS:
        run = RUNS / name
        for path in sorted((run / "tables").glob("*-sentiment.parquet")):
            keep_table(KEPT / f"{name}.parquet", read_predictions(path))
            metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
            ran = json.loads((run / "environment.json").read_text(encoding="utf-8"))
            told = {"machine": ran["machine"], "date": ran["started"][:10]}
            told["words"] = metrics.get("stages", {}).get("words", [])
            (KEPT / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if list((RUNS / SVM / "predictions").glob("*.parquet")):
        keep_table(KEPT / f"{SVM}.parquet", read_predictions(RUNS / SVM / "predictions"))
    for (_, space), table in text_only(recipe_of("hybrid", corpus)).items():
        if space == "sentiment":
            keep_table(KEPT / f"{TEXT}.parquet", table)


def kinds(corpus: Path) -> dict[str, list[str]]:
    """What a clip is an example of, by its id."""
    from voicetone.corpora.prepared import read_prepared

    found: dict[str, list[str]] = {}
    for u in read_prepared(str(corpus), licence="CC0"):
        words, tone = u.extra["words"], u.extra["prosody"]
        held = u.extra.get("held")
        if "neutral" in (words, tone):
            said = ["one of both says nothing"]
        else:
            said = ["words and tone agree" if words == tone else "words and tone disagree"]
        found[u.id] = [*said, *([f"new {held}"] if held else [])]
    return found


def by_kind(corpus: Path) -> dict[str, dict[str, str]]:
    """Accuracy of each system on each kind of clip, per cent."""
    from voicetone.evaluation.table import read_predictions

    told, found = kinds(corpus), {}
    for name in EVERY:
        path = KEPT / f"{name}.parquet"
        if not path.exists():
            continue
        table = read_predictions(path)
        right = np.asarray(table.truth == table.predicted)
        rows: dict[str, list[bool]] = {}
        for key, good in zip(table.id.tolist(), right.tolist(), strict=True):
            for kind in told[key]:
                rows.setdefault(kind, []).append(good)
        found[name] = {k: f"{100 * np.mean(v):.1f} ({len(v)})" for k, v in sorted(rows.items())}
    return found


def page(rows: list[Row], split: dict[str, dict[str, str]]) -> str:
    """The whole page."""
    by = {(r["system"], r["metric"]): r for r in rows}
    lines = [HEAD, "| system | UAR % | interval | accuracy % | difference | p |"]
    lines.append("|---|---|---|---|---|---|")
    for name in dict.fromkeys(r["system"] for r in rows):
        row, wa = by[name, "uar"], by[name, "wa"]
        apart = f"{100 * row['difference']:+.1f}" if "difference" in row else "–"
        cells = [name, mean(row), interval(row), mean(wa), apart, p_value(over_speakers(row))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Where words and tone agree or not", ""]
    lines += ["Accuracy %, clips in brackets.", ""]
    names = list(split)
    lines += [f"| clips | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for kind in dict.fromkeys(k for said in split.values() for k in said):
        lines.append(f"| {kind} | {' | '.join(split[n].get(kind, '–') for n in names)} |")
    lines += ["", "## What the recogniser heard", ""]
    for name in SYSTEMS:
        path = KEPT / f"{name}.json"
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"words": []}
        for part in told["words"]:
            token = part["sentiment_uar"]
            said = "" if token is None else f"; the token's UAR {100 * token['value']:.1f} %"
            lines.append(
                f"- `{name}`, {part['group']} ({part['clips']} clips): WER "
                f"{100 * part['wer']['value']:.1f} %, CER {100 * part['cer']['value']:.1f} %{said}"
            )
    lines += ["", "## Systems", ""]
    lines += [f"- `{name}`: {about}" for name, (about, _) in SYSTEMS.items()]
    lines += ["- `svm`: a linear SVM on eGeMAPS functionals: next to nothing of the words"]
    lines += ["- `text`: a logistic regression on the true transcripts", ""]
    return "\n".join(lines)


def main(words: list[str]) -> None:
    """Train what is named, and write the page of what there is."""
    from voicetone.evaluation.results import result_row, write_results
    from voicetone.evaluation.significance import difference
    from voicetone.evaluation.table import read_predictions

    if not words:
        raise SystemExit("give the folder that benchmarks/made_speech.py has made")
    corpus = Path(words[0]).resolve()
    for name in words[1:]:
        train_svm(corpus) if name == SVM else train(name, corpus)
    keep(corpus)
    rows = []
    base = KEPT / f"{SVM}.parquet"
    for name in EVERY:
        path = KEPT / f"{name}.parquet"
        if not path.exists():
            continue
        known = base if name != SVM and base.exists() else None
        more: Row = {"system": name}
        if known is not None:
            apart = difference(read_predictions(path), read_predictions(known))
            more["difference"] = round(apart.value, 4)
        rows += [result_row(path, RESULTS, metric, known, **more) for metric in METRICS]
    write_results(RESULTS / "voice-made.json", rows)
    (RESULTS / "voice-made.md").write_text(page(rows, by_kind(corpus)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
