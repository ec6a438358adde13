"""The d-vector of Resemblyzer (GE2E: Wan et al., ICASSP 2018): its front end, and what it sums.

The network hears 1.6 s of mel power (no logarithm) at a time; an utterance's embedding is the mean
over such parts, 1.3 of them a second, brought to length 1. The network itself is run by whoever
makes a `DVector`: see `voicetone.pretrained.speakers`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import SAMPLE_RATE
from voicetone.features.speaker import checked, unit
from voicetone.types import Floats

PACKAGE = "Resemblyzer"
VERSION = "0.1.4"
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}"
"""Without its dependencies: webrtcvad has to be compiled, and nothing of them is used here."""
WEIGHTS_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
"""Of `resemblyzer/pretrained.pt` of that version."""
SIZE = 256
BANDS = 40
PART = 160  # frames that the network hears at once: 1.6 s
STEP = round(SAMPLE_RATE / 1.3 / 160)  # frames between the starts of two parts
_COVERED = 0.75  # of a last part that is heard, silence making up the rest
_WINDOW = 400  # samples, 25 ms
_HOP = 160  # samples, 10 ms
_LOUDNESS = -30.0  # dB below full scale (RMS) that quieter utterances are raised to
_FRAMES_AT_ONCE = 4096  # of spectra: 40 s
_PARTS_AT_ONCE = 64


def graph_path(root: Path | None = None) -> Path:
    """Where the converted network is kept: in `speaker` below `VOICETONE_CACHE` or `.cache`.

    Args:
        root: another folder than that.
    """
    root = Path(os.environ.get("VOICETONE_CACHE", ".cache")) / "speaker" if root is None else root
    return root / f"dvector-{WEIGHTS_SHA256[:16]}-1.onnx"


class DVector:
    """The encoder. Safe to share between threads if `run` is.

    Args:
        run: the network: mel power `[B, 160, 40]` → `[B, 256]`.
    """

    id = f"dvector-{WEIGHTS_SHA256[:16]}-1"  # the last number is raised when this file changes
    size = SIZE
    same_voice = 0.57  # docs/speaker.md says what this costs

    def __init__(self, run: Callable[[Floats], Floats]) -> None:
        self._run = run

    def embed(self, waves: Sequence[Floats]) -> Floats:
        """Waves `[n]` at 16 kHz → float32 `[waves, 256]` of unit length.

        Raises:
            AudioError: a wave that is no audio, too short or too long.
        """
        out = np.zeros((len(waves), SIZE), dtype=np.float64)
        for row, wave in enumerate(waves):
            for parts in _blocks(checked(wave)):
                out[row] += self._run(parts).sum(axis=0)
        return unit(out)


def _blocks(wave: Floats) -> list[Floats]:
    """The parts of a wave `[≤ 64, 160, 40]`, in order."""
    loud = normalised(wave)
    starts = part_starts(len(wave))
    end = (starts[-1] + PART) * _HOP
    mel = mel_power(np.pad(loud, (0, max(0, end - len(loud)))))
    parts = np.lib.stride_tricks.sliding_window_view(mel, PART, axis=0)[starts].swapaxes(1, 2)
    return [
        np.ascontiguousarray(parts[at : at + _PARTS_AT_ONCE])
        for at in range(0, len(parts), _PARTS_AT_ONCE)
    ]


def normalised(wave: Floats) -> Floats:
    """A wave raised to an RMS level of -30 dB if it is quieter; a louder one stays as it is."""
    rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    wanted = 10 ** (_LOUDNESS / 20)
    if rms >= wanted or rms == 0:
        return wave
    return np.asarray(wave * np.float32(wanted / rms), dtype=np.float32)


def part_starts(samples: int) -> list[int]:
    """The first frame of each part of a wave with this many samples; there always is one.

    A last part of which less than three quarters would be heard is left out.
    """
    frames = -(-(samples + 1) // _HOP)
    starts = list(range(0, max(1, frames - PART + STEP + 1), STEP))
    if len(starts) > 1 and (samples - starts[-1] * _HOP) / (PART * _HOP) < _COVERED:
        starts.pop()
    return starts


def mel_power(wave: Floats) -> Floats:
    """Power in 40 mel bands, `[1 + n // 160, 40]`, as librosa 0.9 and later compute it.

    Spectra of 25 ms in a periodic Hann window, centred on every tenth millisecond, with zeros
    before the first and after the last sample; bands of Slaney's kind.
    """
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    padded = np.pad(wave, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    out = np.empty((len(frames), BANDS), dtype=np.float32)
    for at in range(0, len(frames), _FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(frames[at : at + _FRAMES_AT_ONCE] * window, axis=-1)
        # In double precision, so that the number of BLAS threads leaves no trace in the result.
        power = np.square(spectrum.real, dtype=np.float64)
        power += np.square(spectrum.imag, dtype=np.float64)
        out[at : at + _FRAMES_AT_ONCE] = power @ slaney_filters(BANDS, _WINDOW)
    return out


@lru_cache(maxsize=4)
def slaney_filters(bands: int, n_fft: int) -> NDArray[np.float64]:
    """Triangles of equal area `[n_fft / 2 + 1, bands]` from 0 to 8000 Hz.

    Their corners lie evenly on the mel scale of the Auditory Toolbox (Slaney, 1998): linear to
    1000 Hz, 15 mel there, and logarithmic above, 27 mel to a factor of 6.4.
    """
    top = 15.0 + np.log(SAMPLE_RATE / 2 / 1000.0) / (np.log(6.4) / 27.0)
    mels = np.linspace(0.0, top, bands + 2)
    above = 1000.0 * np.exp((mels - 15.0) * (np.log(6.4) / 27.0))
    corners = np.where(mels < 15.0, mels * 200.0 / 3.0, above)
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, n_fft // 2 + 1)[:, None]
    rising = (hertz - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - hertz) / (corners[2:] - corners[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    return np.asarray(triangles * 2.0 / (corners[2:] - corners[:-2]))
