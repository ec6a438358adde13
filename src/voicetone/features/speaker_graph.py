"""Any speaker network in ONNX, such as an x-vector or ECAPA-TDNN, by its settings.

The network hears samples, or log-mel energies of a plain kind. Front ends of a particular toolkit
(Kaldi's pre-emphasis and dither, say) are not imitated: export the network with its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import SAMPLE_RATE, to_samples
from voicetone.errors import AudioError, DataError
from voicetone.features.dvector import slaney_filters
from voicetone.features.speaker import checked, unit
from voicetone.types import Floats

MOST_BYTES = 1_900_000_000  # of a graph: one ONNX file holds 2 GiB
MOST_SIZE = 4096  # values of an embedding
_FLOOR = 1e-10  # power per band


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What a speaker network takes and gives.

    Args:
        path: of the ONNX file.
        input: `wave` for samples `[B, n]`, `logmel` for `[B, frames, bands]`.
        output: name of the output `[B, size]`; may be left empty if the graph has only one.
        bands: mel bands.
        window_ms: length of a frame.
        hop_ms: from one frame to the next.
        subtract_mean: take each band's mean over the utterance off it.
        shortest: seconds; shorter waves are repeated up to this.
        longest: seconds that are heard at once; of longer waves equal pieces are averaged.
        same_voice: the cosine under which two stretches of about 2 s are rather of two voices;
            to be measured for each network.

    Raises:
        DataError: a value out of its range.
    """

    path: str
    input: Literal["wave", "logmel"] = "wave"
    output: str = ""
    bands: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    subtract_mean: bool = True
    shortest: float = 0.5
    longest: float = 30.0
    same_voice: float = 0.5

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, float, float], ...] = (
            ("bands", 1, 256),
            ("window_ms", 5, 100),
            ("hop_ms", 1, 100),
            ("shortest", 0.1, 60),
            ("longest", 0.1, 600),
            ("same_voice", -1, 1),
        )
        for name, least, most in ranges:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not least <= value <= most:
                raise DataError(
                    f"speaker network: {name} = {str(value)[:40]}, outside {least:g} to {most:g}: "
                    "mend its settings"
                )
        if self.input not in ("wave", "logmel"):
            raise DataError(
                f"speaker network: input = {str(self.input)[:40]!r}: it hears wave or logmel"
            )
        if type(self.bands) is not int or not self.path or self.longest < self.shortest:
            raise DataError(
                "speaker network: give a path, whole bands, and longest not under shortest"
            )

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> GraphSettings:
        """Settings from a recipe or file.

        Raises:
            DataError: a name that there is not, or a value out of its range.
        """
        known = {field.name for field in fields(GraphSettings)}
        if odd := sorted(set(data) - known):
            raise DataError(
                f"speaker network: no setting {odd[0]!r:.60}: there are {', '.join(sorted(known))}"
            )
        if not isinstance(data.get("path"), str) or not isinstance(data.get("output", ""), str):
            raise DataError("speaker network: path and output are texts: mend its settings")
        return GraphSettings(**data)


class GraphEncoder:
    """A network by its settings. Safe to share between threads if `run` is.

    Args:
        settings: what it takes and gives.
        digest: SHA-256 of the graph.
        size: values of an embedding.
        run: the network: `[1, n]` or `[1, frames, bands]` → `[1, size]`, all finite.
    """

    def __init__(
        self, settings: GraphSettings, digest: str, size: int, run: Callable[[Floats], Floats]
    ) -> None:
        told = {**asdict(settings), "path": digest}  # a moved file costs nothing
        del told["same_voice"]  # decides no value
        whole = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        self.id = f"onnx-{whole[:16]}"
        self.size = size
        self.same_voice = settings.same_voice
        self._settings = settings
        self._run = run

    def embed(self, waves: Sequence[Floats]) -> Floats:
        """Waves `[n]` at 16 kHz → float32 `[waves, size]` of unit length.

        Raises:
            AudioError: a wave that is no audio, too short, too long, or without any voice in it.
            DataError: the network gives something other than numbers.
        """
        rows = [self._one(checked(wave)) for wave in waves]
        return np.stack(rows) if rows else np.zeros((0, self.size), dtype=np.float32)

    def _one(self, wave: Floats) -> Floats:
        shortest, longest = (
            to_samples(s) for s in (self._settings.shortest, self._settings.longest)
        )
        if len(wave) < shortest:
            wave = np.resize(wave, shortest)
        total = np.zeros(self.size, dtype=np.float64)
        for piece in np.array_split(wave, -(-len(wave) // longest)):
            total += unit(self._run(network_input(piece, self._settings)))[0] * float(len(piece))
        return unit(total)


def network_input(wave: Floats, settings: GraphSettings) -> Floats:
    """What the network hears of a wave `[n]`: `[1, n]` or `[1, frames, bands]`.

    Raises:
        AudioError: shorter than one frame.
    """
    if settings.input == "wave":
        return np.ascontiguousarray(wave[None], dtype=np.float32)
    window, hop = (to_samples(ms / 1000) for ms in (settings.window_ms, settings.hop_ms))
    if len(wave) < window:
        raise AudioError(
            f"{len(wave) / SAMPLE_RATE:.3f} s is too short for a frame of the speaker network: "
            "give more audio"
        )
    taper, bands = _mel(window, settings.bands)
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop]
    size = 2 * (len(bands) - 1)
    power = np.abs(np.fft.rfft(frames * taper, size, axis=-1)).astype(np.float64) ** 2
    logs = np.log(power @ bands + _FLOOR)
    if settings.subtract_mean:
        logs -= logs.mean(axis=0)
    return np.ascontiguousarray(logs[None], dtype=np.float32)


@lru_cache(maxsize=4)
def _mel(window: int, bands: int) -> tuple[Floats, NDArray[np.float64]]:
    """A Hann window, and mel bands over the next power of two."""
    size = 1 << (window - 1).bit_length()
    return np.hanning(window + 1)[:-1].astype(np.float32), slaney_filters(bands, size)
