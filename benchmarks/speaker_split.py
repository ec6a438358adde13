"""Measure how well one channel is split by speaker.

    python benchmarks/speaker_split.py [--mixtures N] [--encoders NAMES] [--out FILE]

Mixtures are made of RAVDESS: two actors alternate, in turns of two or three clips of any emotion
and sentence, each brought to one level, with pauses of 0.1 to 0.8 s; in every other mixture both
are of one sex. Speech is heard by the default bundle, or taken as it is known (`known`). The
example call is mixed to one channel and compared with the speech that the bundle hears on its two.
The d-vectors' network is converted first if need be. `docs/results/speaker-split.json` is written
at full size; other measurements are written where `--out` says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from bench_speed import machine
from voicetone.audio.decode import read_audio
from voicetone.audio.energy import EDGE
from voicetone.audio.units import FRAME, SAMPLE_RATE, to_seconds
from voicetone.evaluation.diarization import Spoken, der
from voicetone.features.speaker import SpeakerEncoder
from voicetone.features.speaker_enrol import by_energy
from voicetone.inference.live import LiveSession, SpeechEvent
from voicetone.inference.split import SplitSettings, split_speakers, tightened
from voicetone.pretrained import Predictor, load
from voicetone.pretrained.speakers import ENCODERS, speaker_encoder
from voicetone.types import Floats, Segment

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "results" / "speaker-split.json"
CALL = ROOT / "examples" / "call.flac"
MIXTURES = 20
TURNS = 6
COLLAR = 0.25  # s, as usual
PAUSES = (0.1, 0.8)  # s, between any two clips
LEVEL = -26.0  # dB below full scale (RMS) of each clip, as telephone systems even it out
SEED = 0


def clip(path: Path) -> Floats:
    """A clip from where its speech begins to where that ends, at the usual level."""
    samples = read_audio(path).mono().resample(SAMPLE_RATE).samples[0]
    frames = np.flatnonzero(by_energy(samples))
    if frames.size:
        inner = frames[0] + EDGE, frames[-1] + 1 - EDGE  # without what `by_energy` adds around it
        samples = samples[inner[0] * FRAME : inner[1] * FRAME]
    rms = float(np.sqrt(np.mean(np.square(samples))))
    return np.clip(samples * (10 ** (LEVEL / 20) / rms), -1, 1).astype(np.float32)


def mixture(
    folders: Sequence[Path], same_sex: bool, rng: np.random.Generator
) -> tuple[Floats, list[Spoken], list[str]]:
    """Samples, who speaks when, and whose voices they are."""
    while True:
        pair = [folders[i] for i in rng.choice(len(folders), 2, replace=False)]
        numbers = [int(f.name.rpartition("_")[2]) for f in pair]
        if (numbers[0] % 2 == numbers[1] % 2) == same_sex:
            break
    left = [list(rng.permutation(sorted(folder.glob("*.flac")))) for folder in pair]
    parts: list[Floats] = []
    spoken: list[Spoken] = []
    at = 0
    for turn in range(TURNS):
        who = turn % 2
        for _ in range(int(rng.integers(2, 4))):
            sound = clip(Path(left[who].pop()))
            spoken.append((to_seconds(at), to_seconds(at + len(sound)), numbers[who]))
            pause = np.zeros(round(rng.uniform(*PAUSES) * SAMPLE_RATE), dtype=np.float32)
            parts += [sound, pause]
            at += len(sound) + len(pause)
    # The quiet of a room instead of digital silence.
    noise = 1e-4 * rng.standard_normal(at)
    return (np.concatenate(parts) + noise).astype(np.float32), spoken, [f.name for f in pair]


def heard(predictor: Predictor, samples: Floats) -> list[list[Segment]]:
    """Turns of speech per channel of `[channels, n]`."""
    channels = list(range(1, len(samples) + 1))
    session = LiveSession(predictor, SAMPLE_RATE, len(samples), analysed=channels)
    events = [*session.push(samples), *session.close()]
    found = [
        [e.segment for e in events if isinstance(e, SpeechEvent) and e.channel == channel]
        for channel in channels
    ]
    rule, seconds = predictor.spec.speech, to_seconds(samples.shape[1])
    return [tightened(turns, rule, seconds) for turns in found]


def merged(spoken: Sequence[Spoken]) -> list[Segment]:
    """What is spoken, by whomever, as turns that do not touch."""
    out: list[Segment] = []
    for start, end, _ in sorted(spoken, key=lambda s: s[:2]):
        if out and start <= out[-1].end:
            out[-1] = Segment(out[-1].start, max(end, out[-1].end))
        else:
            out.append(Segment(start, end))
    return out


def judged(
    samples: Floats,
    spoken: Sequence[Spoken],
    turns: Sequence[Segment],
    encoder: SpeakerEncoder,
    speakers: int | None,
) -> dict[str, Any]:
    """Errors of one recording, in seconds and as rates."""
    settings = SplitSettings(encoder.same_voice, speakers)
    found = split_speakers(samples, turns, encoder.embed, settings)
    strict, lenient = der(spoken, found), der(spoken, found, COLLAR)
    return {
        "der": strict.rate,
        "der_collar": lenient.rate,
        "missed": strict.missed / strict.total,
        "false_alarm": strict.false_alarm / strict.total,
        "confusion": strict.confusion / strict.total,
        "seconds": strict.total,
        "speakers": len({turn.speaker for turn in found}),
    }


def mean(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means, errors weighted by the seconds of speech."""
    weight = np.array([row["seconds"] for row in rows])
    out: dict[str, float] = {
        name: round(float(np.average([row[name] for row in rows], weights=weight)), 4)
        for name in ("der", "der_collar", "missed", "false_alarm", "confusion")
    }
    out["two_found"] = round(float(np.mean([row["speakers"] == 2 for row in rows])), 4)
    return out


def encoders(names: Sequence[str]) -> list[SpeakerEncoder]:
    if "dvector" in names:
        from voicetone.training.dvector_export import ensure_dvector

        ensure_dvector()
    return [speaker_encoder(name) for name in names]


def call(predictor: Predictor) -> tuple[Floats, list[Spoken]]:
    """The example call as one channel, and what is heard on its two."""
    wave = read_audio(CALL).resample(SAMPLE_RATE)
    spoken: list[Spoken] = [
        (turn.start, turn.end, channel)
        for channel, turns in enumerate(heard(predictor, wave.samples), 1)
        for turn in turns
    ]
    return wave.mono().samples[0], spoken


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mixtures", type=int, default=MIXTURES)
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    data = os.environ.get("VOICETONE_DATA")
    if not data:
        print("set VOICETONE_DATA to the folder of the corpora", file=sys.stderr)
        return 2
    folders = sorted((Path(data) / "ravdess" / "audio").glob("Actor_*"))
    predictor = load()
    rng = np.random.default_rng(SEED)
    made = [mixture(folders, bool(i % 2), rng) for i in range(asked.mixtures)]
    turns = [heard(predictor, samples[None])[0] for samples, _, _ in made]
    mono, on_two = call(predictor)
    mono_turns = heard(predictor, mono[None])[0]
    rows = []
    for encoder in encoders(asked.encoders.split(",")):
        for speakers in (2, None):
            told = {"encoder": encoder.id, "speakers": "2, told" if speakers else "found"}
            for name, speech in (("heard", turns), ("known", [merged(s) for _, s, _ in made])):
                found = [
                    judged(samples, spoken, speech[i], encoder, speakers)
                    for i, (samples, spoken, _) in enumerate(made)
                ]
                for group, part in (
                    ("all", found),
                    ("two sexes", found[::2]),
                    ("one sex", found[1::2]),
                ):
                    if part:
                        what = {"audio": f"RAVDESS mixtures, {group}", "speech": name}
                        rows.append({**told, **what, "n": len(part), **mean(part)})
            one = judged(mono, on_two, mono_turns, encoder, speakers)
            what = {"audio": "example call mixed to one channel", "speech": "heard"}
            rows.append({**told, **what, "n": 1, **mean([one])})
    for row in rows:
        print(json.dumps(row))
    full = asked.mixtures == MIXTURES and asked.encoders == ",".join(ENCODERS)
    if (out := asked.out or (RESULT if full else None)) is not None:
        result = {
            "command": "python benchmarks/speaker_split.py",
            "machine": machine(),
            "date": date.today().isoformat(),
            "model": predictor.spec.id,
            "seconds_of_speech": round(sum(e - s for _, sp, _ in made for s, e, _ in sp), 1),
            "collar": COLLAR,
            "pairs": [names for _, _, names in made],
            "rows": rows,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
