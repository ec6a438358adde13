"""Measure how one channel is split by speaker, and if two voices in one enrolment are told.

    python benchmarks/speaker_split.py [--mixtures N] [--encoders NAMES] [--out FILE] | --page

Mixtures are made of RAVDESS: two actors alternate, in turns of two or three clips of any emotion
and sentence, each brought to one level, with pauses of 0.1 to 0.8 s; in every other mixture both
are of one sex. Speech is heard by the default bundle, or taken as it is known (`known`). The
example call is mixed to one channel and compared with the speech that the bundle hears on its two.
Enrolments are made of seven clips, of one actor or four and three of two.
The d-vectors' network is converted first if need be. `docs/results/speaker-split.json` is written
at full size; other measurements are written where `--out` says. What a split does to the tone is
measured by `speaker_split_tone.py`. `--page` writes its tables into
`docs/speaker.md` and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
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
from voicetone.features.speaker_enrol import by_energy, enrol
from voicetone.inference.live import LiveSession, SpeechEvent
from voicetone.inference.split import SplitSettings, split_speakers, tightened
from voicetone.pretrained import Predictor, load
from voicetone.pretrained.speakers import ENCODERS, speaker_encoder
from voicetone.types import Floats, Segment

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "results" / "speaker-split.json"
PAGE = ROOT / "docs" / "speaker.md"
START, END = "<!-- speaker-split -->", "<!-- /speaker-split -->"
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
    pair = pair_of(folders, same_sex, rng)
    numbers = [number(folder) for folder in pair]
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


def pair_of(folders: Sequence[Path], same_sex: bool, rng: np.random.Generator) -> list[Path]:
    """Two actors; odd numbers are men."""
    while True:
        pair = [folders[i] for i in rng.choice(len(folders), 2, replace=False)]
        if (number(pair[0]) % 2 == number(pair[1]) % 2) == same_sex:
            return pair


def number(folder: Path) -> int:
    """An actor's."""
    return int(folder.name.rpartition("_")[2])


def enrolments(folders: Sequence[Path], encoder: SpeakerEncoder) -> list[dict[str, Any]]:
    """How often an enrolment from seven clips is said to hold two voices."""
    rng = np.random.default_rng(SEED)
    kinds: dict[str, list[list[Path]]] = {"one voice": [[folder] for folder in folders]}
    for name, same_sex in (("two voices, two sexes", False), ("two voices, one sex", True)):
        kinds[name] = [pair_of(folders, same_sex, rng) for _ in folders]
    rows = []
    for name, groups in kinds.items():
        warned = 0
        for group in groups:
            waves = []
            for folder, count in zip(group, (4, 3) if len(group) == 2 else (7,), strict=True):
                paths = rng.choice(sorted(folder.glob("*.flac")), count, replace=False)
                waves += [
                    read_audio(Path(p)).mono().resample(SAMPLE_RATE).samples[0] for p in paths
                ]
            warned += bool(enrol(encoder, [np.concatenate(waves)]).warnings)
        share = {"n": len(groups), "warned": round(warned / len(groups), 4)}
        rows.append(
            {"encoder": encoder.id, "same_voice": encoder.same_voice, "holds": name, **share}
        )
    return rows


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


def tables(result: Mapping[str, Any]) -> str:
    """What was measured, in Markdown."""

    def percent(share: float) -> str:
        return f"{100 * share:.1f} %"

    lines = [
        "| encoder | audio | speech | speakers | confused | DER | DER, collar 0.25 s | two found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        errors = [percent(row[name]) for name in ("confusion", "der", "der_collar", "two_found")]
        words = [row["encoder"].partition("-")[0], row["audio"], row["speech"], row["speakers"]]
        lines.append(f"| {' | '.join([*words, *errors])} |")
    lines += [
        "",
        "| encoder | enrolment of seven clips | said to hold two voices |",
        "|---|---|---|",
    ]
    for row in result["enrolments"]:
        name = row["encoder"].partition("-")[0]
        lines.append(f"| {name} | {row['holds']}, {row['n']} | {percent(row['warned'])} |")
    if "tone" in result:
        lines += ["", *tone_table(result["tone"])]
    made = f"`{result['command']}`, {result['machine']}, {result['date']}, {result['model']}."
    return "\n".join([*lines, "", made])


def tone_in(out: Path) -> dict[str, Any]:
    """The part of a result that `speaker_split_tone.py` wrote there."""
    before = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    return {"tone": before["tone"]} if "tone" in before else {}


def tone_table(tone: Mapping[str, Any]) -> list[str]:
    """What a split does to each party's tone, as `speaker_split_tone.py` measured it."""
    lines = [
        "| encoder | audio | windows with speech | of these found | invented | same label "
        "| scores differ by | overall differs by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in tone["rows"]:
        name = row["encoder"].partition("-")[0]
        shares = [row["found"] / row["windows"], row["invented"] / row["quiet"], row["same_label"]]
        numbers = [f"{100 * share:.1f} %" for share in shares]
        numbers += [f"{row[kind]:.3f}" for kind in ("window_difference", "overall_difference")]
        audio = f"{row['audio']}, {row['n']}"
        lines.append(f"| {name} | {audio} | {row['windows']} | {' | '.join(numbers)} |")
    made = f"`{tone['command']}`, {tone['machine']}, {tone['date']}, {tone['model']}."
    return [*lines, "", made]


def with_tables(page: str, result: Mapping[str, Any]) -> str:
    """The page with what was measured between its marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{tables(result)}\n{END}{after}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mixtures", type=int, default=MIXTURES)
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.page:
        result = json.loads(RESULT.read_text("utf-8"))
        PAGE.write_text(with_tables(PAGE.read_text("utf-8"), result), encoding="utf-8")
        return 0
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
    rows, enrolled = [], []
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
                    what = {"audio": f"RAVDESS mixtures, {group}", "speech": name}
                    rows += [{**told, **what, "n": len(part), **mean(part)}] if part else []
            one = judged(mono, on_two, mono_turns, encoder, speakers)
            what = {"audio": "example call mixed to one channel", "speech": "heard"}
            rows.append({**told, **what, "n": 1, **mean([one])})
        enrolled += enrolments(folders, encoder)
    print("\n".join(json.dumps(row) for row in (*rows, *enrolled)))
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
            "enrolments": enrolled,
            **tone_in(out),
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
