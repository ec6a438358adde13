"""Make a corpus in which words and tone of voice agree, disagree, or one of them says nothing.

    python benchmarks/made_speech.py OUT [--voices N] [--sentences N] [--seed S]

espeak-ng speaks each sentence of each voice three times: brightly, flatly and lowly. The class
is the sign of the words' sentiment plus the tone's, so that neither alone is enough. OUT gets
`audio/*.flac` (16 kHz, mono, 16 bit), `manifest.csv` and `made.json`. Run it again after a kill:
clips that are there are kept.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from made_sentences import PARTS, Deck, Sentence, sentences
from voicetone.audio.units import SAMPLE_RATE
from voicetone.corpora.columns import ALWAYS, COLUMNS
from voicetone.corpora.manifest import Manifest
from voicetone.corpora.tables import rows_of
from voicetone.features.workers import cores
from voicetone.training.written import as_json, whole, write_text
from voicetone.types import SENTIMENTS, Floats, Utterance

PROGRAM = "espeak-ng"
RULE = "sign of words + prosody, each one of -1 (negative), 0 (neutral) and +1 (positive)"
SIGN = {"negative": -1, "neutral": 0, "positive": 1}
CYCLE = ("train", "validation", "test", "train", "train", "test", "train", "train")
"""The part of each voice by its place in `VOICES`, over and over."""
MOST_SENTENCES = 240  # per voice; the validation has 252
AMPLITUDE = 40  # of 200: no voice clips
SECONDS = 30  # that espeak-ng may take for a clip; it takes hundredths of one
LEVELS = (-32.0, -22.0)  # dBFS of the speech's effective value
QUIET = (0.05, 0.25)  # s before and after the speech
FLOOR = 10 ** (-80 / 20)  # effective value of the hiss, full scale is 1
PEAK = 0.97  # of full scale


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker: a variant of espeak-ng's voice, and the accent that it has here."""

    variant: str
    accent: str
    sex: str


@dataclass(frozen=True, slots=True)
class Style:
    """How a clip is spoken, each drawn evenly between two bounds.

    Attributes:
        pitch: espeak-ng's scale from 0 to 99, about a fifth of a semitone a step.
        spread: the range of pitch in percent of the voice's own; 0 is a monotone.
        rate: words per minute.
    """

    pitch: tuple[int, int]
    spread: tuple[int, int]
    rate: tuple[int, int]


STYLES: Mapping[str, Style] = {
    "positive": Style((46, 66), (140, 200), (175, 215)),
    "neutral": Style((46, 66), (0, 0), (160, 200)),
    "negative": Style((26, 46), (35, 70), (145, 180)),
}


def _voices(text: str) -> tuple[Voice, ...]:
    found = (line.split() for line in text.strip().splitlines())
    sexes = {"f": "female", "m": "male"}
    return tuple(Voice(variant, accent, sexes[sex]) for variant, accent, sex in found)


# Those of 100 variants that are voiced like speech and hold one pitch if told so: no whisper, no
# creak, no robot, and one of each family of near copies. Accent `en` is that of Great Britain;
# under the name `en-gb` release 1.51 leaves the variant out.
VOICES = _voices("""
f1         en                f
victor     en-us             m
f2         en-us             f
m2         en                m
Annie      en-gb-x-rp        f
m3         en-gb-x-rp        m
f3         en-gb-scotland    f
m4         en-gb-scotland    m
Denis      en-us-nyc         m
Alicia     en                f
m5         en                m
Nguyen     en-us             m
steph      en-us             f
m6         en-029            m
f4         en-029            f
m7         en-gb-x-gbclan    m
ed         en-us             m
anika      en-gb-scotland    f
m8         en                m
belinda    en-gb-x-gbclan    f
Gene2      en-gb-x-gbcwmd    m
f5         en-us             f
travis     en                m
Lee        en-us             m
Hugo       en-us             m
norbert    en-us-nyc         m
michel     en-us             m
sandro     en                m
edward     en-gb-x-rp        m
Andrea     en-us             f
iven4      en                m
paul       en-us             m
""")


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording to be made."""

    voice: Voice
    part: str
    sentence: Sentence
    prosody: str

    @property
    def name(self) -> str:
        return f"{self.voice.variant.lower()}_{self.sentence.name}_{self.prosody}"

    @property
    def label(self) -> str:
        """By `RULE`."""
        both = SIGN[self.sentence.words] + SIGN[self.prosody]
        return {-1: "negative", 0: "neutral", 1: "positive"}[(both > 0) - (both < 0)]


def plan(voices: int = len(VOICES), count: int = 54, seed: int = 0) -> tuple[Clip, ...]:
    """All clips: each sentence of a voice in each style.

    Words that no training voice says are left out of the other parts.

    Args:
        voices: from 3, one for each part, to all.
        count: sentences of each voice, a multiple of 3.
        seed: of sentences and of all that is drawn.

    Raises:
        ValueError: other numbers.
    """
    if not len(PARTS) <= voices <= len(VOICES):
        raise ValueError(f"{voices} voices: give {len(PARTS)} to {len(VOICES)}")
    if not (0 < count <= MOST_SENTENCES and count % len(SENTIMENTS) == 0):
        raise ValueError(f"{count} sentences: give a multiple of 3 up to {MOST_SENTENCES}")
    rng = np.random.default_rng([seed, 1])
    there = sentences(seed)
    out: list[Clip] = []
    for part in PARTS:
        heard = {c.sentence.word for c in out} or {s.word for s in there[part]}
        deck = Deck([s for s in there[part] if s.word in heard], rng)
        for i, voice in enumerate(VOICES[:voices]):
            if CYCLE[i % len(CYCLE)] == part:
                said = deck.deal(count)
                out += [Clip(voice, part, s, prosody) for s in said for prosody in SENTIMENTS]
    return tuple(out)


def ceiling(seen: Sequence[str], labels: Sequence[str]) -> float:
    """The best UAR of whoever is told only `seen`, one entry per clip, and the whole design.

    For each thing seen the best answer is the class of which it is the largest share: the recalls
    of classes add up over what is seen.
    """
    size = Counter(labels)
    shares: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for value, label in zip(seen, labels, strict=True):
        shares[value][label] += 1 / size[label]
    return sum(max(share.values()) for share in shares.values()) / len(size)


def facts(clips: Sequence[Clip]) -> dict[str, dict[str, Any]]:
    """Per part: what there is of it, and the ceilings of who hears words or tone alone."""
    out: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        own = [c for c in clips if c.part == part]
        labels = [c.label for c in own]
        words = [c.sentence.words for c in own]
        tone = [c.prosody for c in own]
        out[part] = {
            "clips": len(own),
            "voices": len({c.voice for c in own}),
            "sentences": len({c.sentence.name for c in own}),
            "labels": dict(sorted(Counter(labels).items())),
            "best_uar": {
                "words": ceiling(words, labels),
                "sentence": ceiling([c.sentence.name for c in own], labels),
                "tone": ceiling(tone, labels),
                "both": ceiling([f"{w} {t}" for w, t in zip(words, tone, strict=True)], labels),
            },
        }
    return out


def program() -> str:
    """espeak-ng's version as it says itself, such as `1.51`.

    Raises:
        SystemExit: it is not installed.
    """
    if shutil.which(PROGRAM) is None:
        raise SystemExit(f"{PROGRAM} is not installed: apt-get install {PROGRAM}")
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split("Data at")[0].rpartition(":")[2].strip()


def spoken(text: str, voice: str, pitch: int, spread: int, rate: int) -> tuple[Floats, int]:
    """What espeak-ng says, float32 `[n]`, and its sample rate.

    Raises:
        SystemExit: it fails, or the clip is silent or clips.
    """
    options = ["-m", "-a", str(AMPLITUDE), "-v", voice, "-p", str(pitch), "-s", str(rate)]
    ssml = f'<prosody range="{spread}%">{text}</prosody>'
    said = subprocess.run(
        [PROGRAM, *options, "--stdout", ssml], capture_output=True, timeout=SECONDS
    )
    wav = said.stdout
    # Its header is of 44 bytes and says no length, as the stream has no end yet.
    if said.returncode or wav[:4] != b"RIFF" or wav[36:40] != b"data":
        raise SystemExit(f"{PROGRAM} -v {voice}: no sound ({said.stderr.decode().strip()[:100]})")
    samples = (np.frombuffer(wav[44:], dtype="<i2") / 32768).astype(np.float32)
    peak = float(np.abs(samples).max(initial=0.0))
    if not 0.01 < peak < 0.99:
        raise SystemExit(f"{PROGRAM} -v {voice}: peak {peak:.2f}, which is silent or clips: {text}")
    return samples, int.from_bytes(wav[24:28], "little")


def refuse_same(voices: Sequence[Voice]) -> None:
    """Stop where espeak-ng leaves a variant out and two voices are one.

    Raises:
        SystemExit: naming the voice.
    """
    for voice in voices:
        own, plain = (
            spoken("the same", name, 50, 100, 175)[0]
            for name in (f"{voice.accent}+{voice.variant}", voice.accent)
        )
        if np.array_equal(own, plain):
            raise SystemExit(f"{PROGRAM} ignores the variant in {voice.accent}+{voice.variant}")


def sound(clip: Clip, seed: int) -> Floats:
    """A clip, float32 `[n]` at 16 kHz; its draws depend on the seed and its name alone."""
    digest = hashlib.sha256(f"{seed}/{clip.name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    style = STYLES[clip.prosody]
    pitch, spread, rate = (
        int(rng.integers(low, high + 1)) for low, high in (style.pitch, style.spread, style.rate)
    )
    voice = f"{clip.voice.accent}+{clip.voice.variant}"
    raw, of = spoken(f"{clip.sentence.text}.", voice, pitch, spread, rate)
    samples = soxr.resample(raw, of, SAMPLE_RATE)
    heard = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    samples = samples[heard[0] : heard[-1] + 1]
    level = 10 ** (rng.uniform(*LEVELS) / 20) / np.sqrt(np.mean(samples**2))
    samples = samples * min(level, PEAK / np.abs(samples).max())
    before, after = (round(rng.uniform(*QUIET) * SAMPLE_RATE) for _ in range(2))
    padded = np.pad(samples, (before, after))
    return (padded + rng.normal(0.0, FLOOR, len(padded))).astype(np.float32)


def make(clip: Clip, path: Path, seed: int) -> None:
    """Write a clip's file, whole or not at all, unless it is there."""
    if not path.is_file():
        samples = sound(clip, seed)
        with whole(path) as unfinished:
            soundfile.write(unfinished, samples, SAMPLE_RATE, subtype="PCM_16")


def make_all(clips: Sequence[Clip], folder: Path, seed: int, say: Callable[[str], None]) -> None:
    """All files, on two cores where there are two, with a line now and then."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    there = sum((folder / f"{c.name}.flac").is_file() for c in clips)
    todo = [c for c in clips if not (folder / f"{c.name}.flac").is_file()]
    if there:
        say(f"{there} of {len(clips)} clips are there already")
    with ThreadPoolExecutor(min(2, cores())) as pool:
        done = pool.map(lambda c: make(c, folder / f"{c.name}.flac", seed), todo)
        for n, _ in enumerate(done, 1):
            if n % 250 == 0 or n == len(todo):
                left = (time.monotonic() - started) / n * (len(todo) - n)
                say(f"{there + n} of {len(clips)} clips, {left:.0f} s left")


def manifest(clips: Sequence[Clip], out: Path, version: str) -> Manifest:
    """The corpus as a manifest; `extra` holds the sentiment of words and of prosody apart."""
    return Manifest(
        corpus="made",
        version=f"{PROGRAM} {version}",
        licence="Apache-2.0",
        citation="made by benchmarks/made_speech.py; no person is heard",
        utterances=tuple(_utterance(c, out / "audio" / f"{c.name}.flac") for c in clips),
        rule=RULE,
    )


def _utterance(clip: Clip, path: Path) -> Utterance:
    info = soundfile.info(path)
    extra = {"words": clip.sentence.words, "prosody": clip.prosody, "accent": clip.voice.accent}
    if clip.sentence.held:
        extra["held"] = clip.sentence.held
    return Utterance(
        id=f"made/{clip.name}",
        audio=path,
        corpus="made",
        speaker=f"made/{clip.voice.variant}",
        label=clip.label,
        label_raw=clip.label,
        sentiment=clip.label,
        transcript=clip.sentence.text,
        sentence=clip.sentence.name,
        language="en",
        sex=clip.voice.sex,
        partition=clip.part,
        duration=info.frames / info.samplerate,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        extra=extra,
    )


def write_table(made: Manifest, path: Path) -> None:
    """The manifest as CSV, with `words`, `prosody` and `part` also as columns of their own.

    A reader of manifests finds the first two in `extra`, and the part in `partition`.
    """
    rows = [
        {**row, **{c: u.extra[c] for c in ("words", "prosody")}, "part": u.partition or ""}
        for row, u in zip(rows_of(made, path.parent), made, strict=True)
    ]
    used = [c for c in COLUMNS if c in ALWAYS or any(row[c] for row in rows)]
    text = io.StringIO(newline="")
    columns = [*used, "words", "prosody", "part"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def settle(out: Path, about: Mapping[str, object]) -> None:
    """Write what the folder is to be, or see that it is just that.

    Raises:
        SystemExit: the folder was made, or begun, with other settings, or holds something else.
    """
    path = out / "made.json"
    text = as_json(dict(about))
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SystemExit(f"{out} holds something else: name a new folder")
        out.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    elif path.read_text("utf-8") != text:
        raise SystemExit(f"{out} was made with other settings or {PROGRAM}: name a new folder")


def build(
    out: Path,
    voices: int = len(VOICES),
    count: int = 54,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Manifest:
    """Make the corpus, or what of it is missing.

    Raises:
        ValueError: numbers out of range.
        SystemExit: no espeak-ng, or a folder that holds something else.
    """
    clips = plan(voices, count, seed)
    version = program()
    parts = facts(clips)
    about = {
        "format": 1,
        "espeak-ng": version,
        "seed": seed,
        "voices": voices,
        "sentences": count,
        "rule": RULE,
        "styles": json.loads(json.dumps({name: asdict(s) for name, s in STYLES.items()})),
        "parts": parts,
    }
    refuse_same(VOICES[:voices])
    settle(out, about)
    make_all(clips, out / "audio", seed, say)
    made = manifest(clips, out, version)
    write_table(made, out / "manifest.csv")
    for part, found in parts.items():
        best = ", ".join(f"{k} {v:.3f}" for k, v in found["best_uar"].items())
        say(f"{part}: {found['clips']} clips; best UAR that is to be had from {best}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder, new or begun")
    parser.add_argument("--voices", type=int, default=len(VOICES), help="3 to all, the default")
    parser.add_argument("--sentences", type=int, default=54, help="of each voice; 54 if not given")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        build(given.out, given.voices, given.sentences, given.seed)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
