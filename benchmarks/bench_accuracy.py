"""Score tone-small's held-out predictions again, and write them down for the README.

    python benchmarks/bench_accuracy.py [--run runs/tone-small] [--bundle]

With `--run` the run's recipe, environment, fold table and per-fold predictions are first copied to
`docs/results/tone-small/`. Every number is then computed from what lies there, so that it can be
checked without training; `voicetone train recipes/tone-small.toml` makes the run again. With
`--bundle` the mean scores are written into the bundle's metrics, from which servers take drift.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results" / "tone-small"
BUNDLE = ROOT / "bundles" / "tone-small" / "src" / "voicetone_tone_small" / "bundle.json"
RESULT = ROOT / "benchmarks" / "results" / "accuracy.json"
BASELINES = {"ravdess/emotion": 0.548, "emodb/emotion": 0.833}
NAMES = {
    "ravdess/emotion": "RAVDESS 01-16, 8 emotions, 4 folds of 4 unheard actors",
    "emodb/emotion": "EMO-DB, 4 emotions, leave one speaker out",
    "nemo/emotion": "nEMO, 6 emotions, leave one of 3 speakers out",
    "ravdess/sentiment": "RAVDESS, sentiment, same folds",
    "emodb/sentiment": "EMO-DB, sentiment, same folds",
    "nemo/sentiment": "nEMO, sentiment, same folds",
}


def copy_run(run: Path) -> None:
    """Keep what the numbers are computed from."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in ("recipe.json", "environment.json", "folds.json"):
        shutil.copy(run / name, KEPT / name)
    shutil.copytree(run / "folds", KEPT / "folds", dirs_exist_ok=True)


def measure() -> dict[str, Any]:
    """The metrics of the kept predictions."""
    from voicetone.evaluation.significance import difference
    from voicetone.evaluation.table import read_predictions
    from voicetone.training.recipe import dataclass_from, read_recipe
    from voicetone.training.tone_batches import labels_of
    from voicetone.training.tone_corpora import fold_table, read_corpora
    from voicetone.training.tone_recipe import ToneRecipe
    from voicetone.training.tone_run import fold_folder
    from voicetone.training.tone_scores import pooled, prediction_table
    from voicetone.training.tone_ship import measure_folds
    from voicetone.training.tone_tables import read_fold
    from voicetone.types import EMOTIONS

    path = ROOT / "recipes" / "tone-small.toml"
    recipe = dataclass_from(ToneRecipe, read_recipe(path), path)
    manifests = read_corpora(recipe)
    utterances = tuple(u for m in manifests for u in m)
    table = fold_table(recipe, manifests)
    if table.hash != json.loads((KEPT / "folds.json").read_text(encoding="utf-8"))["hash"]:
        raise SystemExit(f"{KEPT / 'folds.json'}: the corpora or the recipe give other folds now")
    labels = labels_of(
        utterances, tuple(e for e in EMOTIONS if e in {u.emotion for u in utterances})
    )
    predictions = [read_fold(fold_folder(KEPT, i)) for i in range(len(table.folds))]
    metrics = measure_folds(recipe, utterances, labels, table, predictions)[0]
    pool = pooled(predictions, utterances, labels)
    for corpus, baseline in (("ravdess", "svm-ravdess16"), ("emodb", "svm-emodb4")):
        mine = prediction_table(pool, utterances, labels, corpus)
        mine.write(KEPT / f"{corpus}.parquet")
        other = read_predictions(KEPT.parent / "baselines" / f"{baseline}.parquet")
        metrics["scores"][f"{corpus}/emotion"]["above_svm"] = asdict(difference(mine, other))
    return metrics


def rows(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """The README's rows."""
    out = []
    for key, name in NAMES.items():
        uar = metrics["scores"][key]["uar"]
        interval = (
            "under 5 speakers: no interval"
            if uar["low"] is None
            else f"95 % over speakers {uar['low']:.3f}–{uar['high']:.3f}"
        )
        wanted = f"> {BASELINES[key]} (ComParE + LinearSVC)" if key in BASELINES else "–"
        out.append(
            {
                "what": f"UAR: {name}",
                "measured": f"{uar['value']:.3f} ({interval})",
                "wanted": wanted,
            }
        )
    for corpus, name in (("ravdess", "RAVDESS"), ("emodb", "EMO-DB")):
        above = metrics["scores"][f"{corpus}/emotion"]["above_svm"]
        out.append(
            {
                "what": f"UAR above the support vector machine's, {name}, same folds",
                "measured": f"{above['value']:+.3f} (95 % over paired speakers "
                f"{above['low']:+.3f} to {above['high']:+.3f}, p = {above['p']:.3f})",
                "wanted": "> 0",
            }
        )
    fresh = metrics["scores"]["ravdess/emotion"]["speakers_never_validated"]
    out.append(
        {
            "what": f"UAR: RAVDESS, the {fresh['speakers']} actors who validated no fold",
            "measured": f"{fresh['uar']:.3f}",
            "wanted": "–",
        }
    )
    noise = "the 28 clips of noise fold 5 under each fold's model"
    kinds = {
        "clips_detected": ("speech found: clips of held-out speakers", "≥ 98 %"),
        "speech_frames_detected": ("speech found: frames of those clips", "–"),
        "noise_clips_alarmed": (f"false alarms: {noise}", "≤ 2 %"),
        "noise_clips_alarmed_by_any_fold": (
            "false alarms: clips of noise fold 5 that any of the ten models takes for speech",
            "–",
        ),
        "noise_frames_alarmed": ("false alarms: frames of noise fold 5", "–"),
    }
    for key, (what, wanted) in kinds.items():
        s = metrics["speech"][key]
        share = f"{100 * s['value']:.2f} % ({100 * s['low']:.2f}–{100 * s['high']:.2f})"
        out.append(
            {
                "what": what,
                "measured": f"{share}, {s['hits']:,} of {s['total']:,}",
                "wanted": wanted,
            }
        )
    return out


def tell_bundle(means: dict[str, float]) -> None:
    """Put the mean scores into the bundle's metrics; nothing else of it changes."""
    spec = json.loads(BUNDLE.read_text(encoding="utf-8"))
    spec["metrics"] |= {f"mean score, {label}": mean for label, mean in means.items()}
    BUNDLE.write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a run of recipes/tone-small.toml to keep")
    parser.add_argument("--bundle", action="store_true", help="write mean scores into the bundle")
    options = parser.parse_args()
    if options.run:
        copy_run(options.run)
    metrics = measure()
    if options.bundle:
        tell_bundle(metrics["mean_scores"])
    (KEPT / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    environment = json.loads((KEPT / "environment.json").read_text(encoding="utf-8"))
    result = {
        "command": "python benchmarks/bench_accuracy.py",
        "machine": f"trained on {environment['machine']}",
        "date": environment["started"][:10],
        "rows": rows(metrics),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in result["rows"]:
        print(f"{row['what']}: {row['measured']} (wanted {row['wanted']})")


if __name__ == "__main__":
    main()
