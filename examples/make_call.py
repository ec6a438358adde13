"""Make `call.flac`, the example call: two synthetic voices on two channels, 8 kHz.

    python examples/make_call.py [OUTPUT]

An agent (channel 1) and a customer (channel 2) speak in turn. The customer starts calm, grows
angry over a double charge, and calms down once it is repaid; espeak-ng's SSML prosody makes the
difference (rate, pitch, pitch range, volume). Needs espeak-ng. Its SSML output differs slightly
from run to run, which is why the clip itself is kept beside this script.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE = 8_000  # Hz
LEAD_IN = 0.6  # s of quiet before the first and after the last turn
STEP = 1 / 2048  # 12 bits, about what a telephone line carries; keeps the clip small
FLOOR = 10 ** (-75 / 20)  # the line's own hiss, full scale is 1
AMPLITUDE = 52  # of 200: leaves room for "x-loud", which clips at espeak-ng's default of 100
VOICES = {"agent": "en-gb+f3", "customer": "en-us+m3"}
CHANNELS = {"agent": 0, "customer": 1}

PLAIN = 'rate="100%"'
FRIENDLY = 'rate="102%" pitch="+8%" range="+25%"'
CALM = 'rate="92%" pitch="-4%" range="-10%"'
TENSE = 'rate="112%" pitch="+15%" range="+30%" volume="loud"'
ANGRY = 'rate="128%" pitch="+40%" range="+90%" volume="x-loud"'
RELIEVED = 'rate="96%" pitch="+6%" range="+15%"'


@dataclass(frozen=True)
class Turn:
    party: str
    prosody: str
    text: str
    pause: float = 0.35  # s of quiet before the turn


TURNS = (
    Turn("agent", FRIENDLY, "Good morning, thank you for calling. How can I help you?"),
    Turn("customer", CALM, "Hello. There is something on my bill that I do not understand."),
    Turn("agent", PLAIN, "I am happy to look. What is it about?"),
    Turn("customer", CALM, "It seems that I paid twice in October, for the same month."),
    Turn("agent", PLAIN, "I see one payment here. Please call again next week.", 0.6),
    Turn("customer", TENSE, "Next week? I have called three times already!", 0.2),
    Turn("agent", PLAIN, "I am sorry. The system does not show it."),
    Turn("customer", ANGRY, "That is what you said last time! I want my money back, today!", 0.2),
    Turn("customer", ANGRY, "Nobody listens! This is completely unacceptable!", 0.3),
    Turn("agent", CALM, "You are right, and I apologise. Let me look once more.", 0.5),
    Turn("agent", FRIENDLY, "I found it. You did pay twice, and I have sent the money back.", 1.0),
    Turn("customer", TENSE, "And when will I see it?", 0.4),
    Turn("agent", FRIENDLY, "Tomorrow morning, with a free month for your trouble."),
    Turn("customer", RELIEVED, "Oh. Well, thank you, that is kind of you.", 0.5),
    Turn("agent", FRIENDLY, "You are welcome. Is there anything else?"),
    Turn("customer", RELIEVED, "No, that was all. Have a nice day. Goodbye!"),
)


def speak(turn: Turn, folder: Path) -> NDArray[np.float32]:
    """One turn as float32 `[n]` at `RATE`, without the quiet around it."""
    ssml, wav = folder / "turn.ssml", folder / "turn.wav"
    ssml.write_text(f"<speak><prosody {turn.prosody}>{turn.text}</prosody></speak>")
    command = ["espeak-ng", "-m", "-v", VOICES[turn.party], "-a", str(AMPLITUDE)]
    subprocess.run([*command, "-f", str(ssml), "-w", str(wav)], check=True)
    samples, rate = soundfile.read(wav, dtype="float32")
    if np.abs(samples).max() > 0.99:
        raise SystemExit(f"a turn clips, lower AMPLITUDE: {turn.text}")
    heard = np.flatnonzero(np.abs(samples) > 1e-3)
    return soxr.resample(samples[heard[0] : heard[-1] + 1], rate, RATE).astype(np.float32)


def make_call(generator: np.random.Generator) -> NDArray[np.float32]:
    """The whole call, float32 `[n, 2]`: nobody speaks over the other, no channel leaks."""
    quiet = round(LEAD_IN * RATE)
    placed: list[tuple[int, int, NDArray[np.float32]]] = []
    cursor = quiet
    with tempfile.TemporaryDirectory() as folder:
        for turn in TURNS:
            samples = speak(turn, Path(folder))
            cursor += round(turn.pause * RATE)
            placed.append((CHANNELS[turn.party], cursor, samples))
            cursor += len(samples)
    call = generator.normal(0.0, FLOOR, (cursor + quiet, 2)).astype(np.float32)
    for channel, start, samples in placed:
        call[start : start + len(samples), channel] += samples
    return np.round(call / STEP) * np.float32(STEP)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("call.flac")
    call = make_call(np.random.default_rng(2))
    soundfile.write(target, call, RATE, subtype="PCM_16")
    peaks = ", ".join(f"{peak:.2f}" for peak in np.abs(call).max(axis=0))
    print(f"{target}: {len(call) / RATE:.1f} s, peaks {peaks}")


if __name__ == "__main__":
    main()
