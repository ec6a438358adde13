"""What noise and telephones do to voice tone, on speakers whom the network never heard.

    VOICETONE_DATA=DIR python benchmarks/voice_sweep.py SYSTEM [--limit N]

Each fold's network of `runs/voice-tone/SYSTEM` becomes a bundle and hears the fold's test clips of
RAVDESS as recorded and changed, by `voicetone robustness`; `runs/voice-tone/SYSTEM/sweep` keeps
what it says and goes on from there. The pooled predictions are written beside
`docs/results/voice-tone.md`, whose next making has a table of them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from systems import ROOT
from voice_tone import KEPT, RUNS, keep_table, recipe_of

CORPUS = "ravdess"
CONDITIONS = (
    "environment 20 dB,environment 10 dB,babble 20 dB,babble 10 dB,"
    "telephone G.711,telephone GSM,reverberation"
)


def fold_bundle(run: Path, index: int, recipe: Any) -> Path:
    """The bundle of a fold's network, calibrated on its own validation clips."""
    from voicetone.features.spectral import SpectralConfig
    from voicetone.training.tone_batches import labels_of
    from voicetone.training.tone_corpora import read_corpora
    from voicetone.training.tone_export import write_bundle
    from voicetone.training.tone_run import fold_folder
    from voicetone.training.tone_scores import calibrate, pooled
    from voicetone.training.tone_tables import read_fold
    from voicetone.training.tone_weights import read_weights

    folder = run / "sweep" / f"bundle-{index:02d}"
    if folder.exists():
        return folder
    net, emotions = read_weights(run / "checkpoints" / f"{index:02d}.safetensors")
    utterances = [u for m in read_corpora(recipe) for u in m]
    labels, said = labels_of(utterances, emotions), read_fold(fold_folder(run, index))
    found = calibrate(pooled([said], utterances, labels), labels, [said], recipe)
    facts = {
        "name": f"fold-{index}",
        "version": "0",
        "created": "for a sweep",
        "temperature": found.temperature,
        "speech": found.speech.model_dump(),
        "dont_know": {"sentiment": 0.0, "curve": []},
        "training": [],
        "licence": "not to be passed on",
        "attribution": [],
        "notice": "",
        "card": "",
        "metrics": {},
    }
    return write_bundle(folder, net, SpectralConfig(), emotions, facts)


def sweep(system: str, limit: int) -> None:
    """All folds of a system that are trained."""
    from voicetone.cli.main import run as voicetone
    from voicetone.corpora.prepared import data_root
    from voicetone.corpora.tables import write_manifest
    from voicetone.evaluation.table import concatenate, read_predictions
    from voicetone.training.tone_corpora import fold_table, read_corpora
    from voicetone.training.tone_run import fold_folder

    run, recipe = RUNS / system, recipe_of(system)
    manifests = read_corpora(recipe)
    corpus = next(m for m in manifests if m.corpus == CORPUS)
    by_condition: dict[str, list[Any]] = {}
    for index, fold in enumerate(fold_table(recipe, manifests).folds):
        if not (fold_folder(run, index) / "done").exists():
            continue
        bundle, tested = fold_bundle(run, index, recipe), set(fold.test)
        mine = corpus.where(lambda u, tested=tested: u.id in tested and u.sentiment is not None)
        manifest = run / "sweep" / f"test-{index:02d}.csv"
        write_manifest(mine, manifest)
        out = run / "sweep" / f"fold-{index:02d}"
        words = ["robustness", str(bundle), str(manifest), "--out", str(out)]
        words += ["--space", "sentiment", "--conditions", CONDITIONS, "--limit", str(limit)]
        words += ["--noise", str(data_root() / "noise_esc10"), "--noise-folds", "5"]
        words += ["--rooms", str(data_root() / "rir")]
        if code := voicetone(words):
            raise SystemExit(code)
        for path in sorted((out / "tables").glob("*.parquet")):
            by_condition.setdefault(path.stem, []).append(replace(read_predictions(path), meta={}))
    for name, tables in by_condition.items():
        keep_table(KEPT / "sweep" / f"{system}-{name}.parquet", concatenate(tables))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system")
    parser.add_argument("--limit", type=int, default=0, help="clips of each fold; 0 is all")
    chosen = parser.parse_args()
    print(f"sweeps of {chosen.system} in {RUNS.relative_to(ROOT)}")
    sweep(chosen.system, chosen.limit)
