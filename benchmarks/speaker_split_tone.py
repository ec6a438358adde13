"""Measure what a split by speaker does to each party's tone.

    python benchmarks/speaker_split_tone.py [--mixtures N] [--out FILE]

The example call and the mixtures of `speaker_split.py`, one channel each, are analysed with
`split`, told that there are two, and each party is compared with the truth: the call's own two
channels; the mixture with the other actor's clips silenced where they really are. `no split` is
the one channel as it is, compared with both parties.
At full size it writes `tone` into `docs/results/speaker-split.json`; with `--out`, a file of its
own. `speaker_split.py --page` writes the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bench_speed import machine
from speaker_split import CALL, MIXTURES, RESULT, SEED, call, mixture
from voicetone.audio.decode import read_audio
from voicetone.audio.units import SAMPLE_RATE
from voicetone.evaluation.diarization import Spoken, der
from voicetone.inference.file import analyze
from voicetone.inference.split_file import PartyMask, Splitting
from voicetone.pretrained import Predictor, load
from voicetone.pretrained.speakers import ENCODERS
from voicetone.types import SENTIMENTS, ChannelResult, FileResult, Floats, Scores

NO_SPLIT = "no split"


def analysed(predictor: Predictor, rows: Floats, split: Splitting | None = None) -> FileResult:
    """The analysis of `[channels, n]` at 16 kHz as a file gives it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.wav"
        soundfile.write(path, rows.T, SAMPLE_RATE, subtype="FLOAT")
        channels = range(1, len(rows) + 1)
        return analyze(path, predictor, channels=channels, split=split)


def truth_of(predictor: Predictor, samples: Floats, spoken: Sequence[Spoken]) -> FileResult:
    """The parties of a mixture, as its making tells them; in order of first speech."""
    names = list(dict.fromkeys(who for _, _, who in spoken))
    turns = [(start, end, names.index(who) + 1) for start, end, who in spoken]
    return analysed(predictor, PartyMask(turns, SAMPLE_RATE).rows(samples, 0))


def pairs_of(
    found: FileResult, truth: FileResult, spoken: Sequence[Spoken]
) -> list[tuple[ChannelResult | None, ChannelResult]]:
    """Each true party with the one that stands for it."""
    if found.split is None:
        return [(found.channels[0], party) for party in truth.channels]
    names = list(dict.fromkeys(who for _, _, who in spoken))
    mapping = der(spoken, found.split.turns).mapping
    stands = {real: found.channels[int(str(ours)) - 1] for ours, real in mapping.items()}
    return [(stands.get(name), party) for name, party in zip(names, truth.channels, strict=True)]


def compared(
    pairs: Sequence[tuple[ChannelResult | None, ChannelResult]], sure_from: float
) -> dict[str, Any]:
    """What each window and party of the truth became."""
    same, apart, overall, invented, quiet, windows = [], [], [], 0, 0, 0
    for found, truth in pairs:
        theirs = (None,) * len(truth.windows) if found is None else found.windows
        for ours, real in zip(theirs, truth.windows, strict=True):
            if real.sentiment is None:
                quiet += 1
                invented += ours is not None and ours.sentiment is not None
                continue
            windows += 1
            if ours is not None and ours.sentiment is not None:
                same.append(label(ours.sentiment, sure_from) == label(real.sentiment, sure_from))
                apart.append(distance(ours.sentiment, real.sentiment))
        if found is not None and found.overall.sentiment and truth.overall.sentiment:
            overall.append(distance(found.overall.sentiment, truth.overall.sentiment))
    return {
        "parties": len(pairs),
        "windows": windows,
        "found": len(same),
        "quiet": quiet,
        "invented": invented,
        "same_label": round(float(np.mean(same)), 4) if same else None,
        "window_difference": round(float(np.mean(apart)), 4) if apart else None,
        "overall_difference": round(float(np.mean(overall)), 4) if overall else None,
    }


def label(scores: Scores, sure_from: float) -> str | None:
    """The sentiment, or None where it is not sure."""
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= sure_from else None


def distance(a: Scores, b: Scores) -> float:
    """The mean absolute difference of the three scores."""
    return float(np.mean([abs(a[name] - b[name]) for name in SENTIMENTS]))


def measured(
    predictor: Predictor, sounds: Sequence[tuple[Floats, list[Spoken], FileResult]]
) -> list[dict[str, Any]]:
    """A row per encoder, and one for no split."""
    rows = []
    splits = {NO_SPLIT: None, **{name: Splitting(2, name) for name in ENCODERS}}
    for name, split in splits.items():
        pairs: list[tuple[ChannelResult | None, ChannelResult]] = []
        encoder = name
        for samples, spoken, truth in sounds:
            found = analysed(predictor, samples[None], split)
            encoder = name if found.split is None else found.split.encoder
            pairs += pairs_of(found, truth, spoken)
        row = compared(pairs, predictor.spec.dont_know.sentiment)
        rows.append({"encoder": encoder, "n": len(sounds), **row})
    return rows


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mixtures", type=int, default=MIXTURES)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    data = os.environ.get("VOICETONE_DATA")
    if not data:
        print("set VOICETONE_DATA to the folder of the corpora", file=sys.stderr)
        return 2
    from voicetone.training.dvector_export import ensure_dvector

    ensure_dvector()
    predictor = load()
    mono, on_two = call(predictor)
    two = read_audio(CALL).resample(SAMPLE_RATE).samples
    rows = [
        {"audio": "example call", **row}
        for row in measured(predictor, [(mono, on_two, analysed(predictor, two))])
    ]
    folders = sorted((Path(data) / "ravdess" / "audio").glob("Actor_*"))
    rng = np.random.default_rng(SEED)
    made = [mixture(folders, bool(i % 2), rng)[:2] for i in range(asked.mixtures)]
    sounds = [(samples, spoken, truth_of(predictor, samples, spoken)) for samples, spoken in made]
    for name, part in (("two sexes", sounds[::2]), ("one sex", sounds[1::2])):
        found = measured(predictor, part) if part else []
        rows += [{"audio": f"RAVDESS mixtures, {name}", **row} for row in found]
    for row in rows:
        print(json.dumps(row))
    tone = {
        "command": "python benchmarks/speaker_split_tone.py",
        "machine": machine(),
        "date": date.today().isoformat(),
        "model": predictor.spec.id,
        "rows": rows,
    }
    if asked.out is not None:
        asked.out.write_text(json.dumps(tone, indent=1) + "\n", encoding="utf-8")
    elif asked.mixtures == MIXTURES:
        result = {**json.loads(RESULT.read_text("utf-8")), "tone": tone}
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        RESULT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
