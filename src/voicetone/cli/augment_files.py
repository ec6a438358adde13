"""The files of a preview of changes: sounds, pictures, a page, and a list of them all."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicetone.audio.units import FRAME, SAMPLE_RATE
from voicetone.cli.output import STDOUT, OutputError, atomic, write_text
from voicetone.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from voicetone.augment.heard import Heard
    from voicetone.types import Floats, Waveform

LIST = "preview.json"
PAGE = "preview.html"
TITLES = {
    "original": "As recorded",
    "speed": "Speed",
    "pitch": "Pitch",
    "reverb": "Measured room",
    "room": "Simulated room",
    "noise": "Noise",
    "telephone": "Telephone line",
    "codec": "Telephone codec",
    "gain": "Level",
    "all": "All together",
    "mask": "Masks",
}
_MARK = "voicetone_preview"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\.(wav|png|html)")
_RANGE = 80.0  # dB that the colours span
_TRIES = 50  # draws of masks until something is hidden


@dataclass(frozen=True, slots=True)
class Card:
    """One change as the page shows it; the files lie beside it.

    Attributes:
        change: its name.
        words: what was drawn.
        picture: file of the spectrogram.
        sound: file of the audio.
        seconds: of the audio.
        clipped: share of the samples that went beyond full scale.
        drawn: what was drawn, as numbers and names.
    """

    change: str
    words: str
    picture: str
    sound: str | None = None
    seconds: float = 0.0
    clipped: float = 0.0
    drawn: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """As the page calls it."""
        return TITLES[self.change]


def check(out: Path, file: str) -> None:
    """Refuse a folder that is no preview, and one that holds the recording itself.

    Raises:
        OutputError: it holds something else.
        UsageError: the recording lies in it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and _listed(out) is None:
        raise OutputError(
            f"{out}: holds something else than a preview of changes: choose another --preview"
        )
    if file != STDOUT and out.is_dir() and Path(file).resolve().parent == out.resolve():
        raise UsageError(f"--preview {out}: the recording lies in it: choose another folder")


def write(
    out: Path, name: str, wave: Waveform, draws: Sequence[Heard], *, seed: int, count: int
) -> None:
    """Write all files; those of an older preview go.

    Args:
        out: the folder, as `check` passed it.
        name: of the recording.
        wave: the recording, mono at 16 kHz.
        draws: its changes.
        seed: of the masks.
        count: how many draws of masks.

    Raises:
        OutputError: they can't be written.
    """
    from voicetone.augment.draws import generator
    from voicetone.augment.heard import Heard

    files: dict[str, bytes] = {}
    frames = _frames(wave)
    loudest = float(frames.max())
    original = Heard("original", "", "What all the others are made from.", wave)
    cards = [_card(original, files, loudest)]
    for draw in range(count):  # beside the original, from which they are told at sight
        rng = generator(seed, "preview", "mask", draw)
        cards.append(_masked(frames, rng, files, loudest))
    cards += [_card(draw, files, loudest) for draw in draws]
    page = _page(name, cards, seed)
    told = {
        _MARK: 1,
        "recording": name,
        "seed": seed,
        "files": [*files, PAGE],
        "changes": [asdict(card) for card in cards],
    }
    for old in _listed(out) or ():
        with suppress(FileNotFoundError):
            (out / old).unlink()
    # First of all, so that what an interrupted preview leaves is known for what it is.
    write_text(out / LIST, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    for file, content in files.items():
        with atomic(out / file) as stream:
            stream.write(content)
    write_text(out / PAGE, page)


def _listed(out: Path) -> list[str] | None:
    """The files of the preview that a folder holds; None if it holds none."""
    try:
        told = json.loads((out / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or _MARK not in told or not isinstance(told.get("files"), list):
        return None
    return [name for name in told["files"] if isinstance(name, str) and _NAME.fullmatch(name)]


def _page(name: str, cards: Sequence[Card], seed: int) -> str:
    from voicetone.evaluation.call_audio import Player
    from voicetone.evaluation.page import fill
    from voicetone.features.spectral import SpectralConfig

    config = SpectralConfig()
    return fill(
        "augment.html",
        "augment.css",
        players=[Player(card.sound, embedded=False) for card in cards if card.sound],
        pictures=True,
        filters={"percent": lambda share: f"{100 * share:.2g} %"},
        name=name,
        cards=cards,
        seed=seed,
        low=f"{config.mel_low:g}",
        high=f"{config.mel_high / 1000:g}",
        span=f"{_RANGE:g}",
    )


def _card(draw: Heard, files: dict[str, bytes], loudest: float) -> Card:
    """The card of a change, whose sound and picture join `files`."""
    import numpy as np

    stem = _free(f"{draw.change}-{draw.value}" if draw.value else draw.change, files)
    samples = draw.wave.samples[0]
    files[f"{stem}.wav"] = _wav(samples)
    files[f"{stem}.png"] = _picture(_frames(draw.wave), loudest)
    return Card(
        draw.change,
        draw.words,
        f"{stem}.png",
        f"{stem}.wav",
        draw.wave.duration,
        float((np.abs(samples) > 1.0).mean()),
        draw.drawn,
    )


def _masked(
    frames: Floats, rng: np.random.Generator, files: dict[str, bytes], loudest: float
) -> Card:
    """The card of masks, whose picture joins `files`."""
    from voicetone.augment.masking import drawn_masks, under

    every = frames.shape[1]
    for _ in range(_TRIES):  # what hides nothing is not to be seen
        masks = drawn_masks(rng, len(frames), bands=every)
        bands, times = sum(m.width for m in masks), sum(m.length for m in masks)
        if bands and (times or len(frames) < 4):
            break
    stem = _free(f"mask-{bands}bands-{times}frames", files)
    files[f"{stem}.png"] = _picture(under(frames, masks, frames.mean(axis=0)), loudest)
    words = (
        f"Not to be heard: two masks over {bands} of {every} frequency bands and {times} of "
        f"{len(frames)} frames. A mean stands there, of this recording; in training, of all."
    )
    return Card("mask", words, f"{stem}.png", drawn={"masks": [asdict(mask) for mask in masks]})


def _free(stem: str, files: Mapping[str, bytes]) -> str:
    """A file name's beginning that is not taken, of plain characters."""
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", stem)[:80]
    name, number = plain, 1
    while f"{name}.png" in files:
        number += 1
        name = f"{plain}-{number}"
    return name


def _wav(samples: Floats) -> bytes:
    import soundfile

    out = io.BytesIO()
    # Not as floats: libsndfile would write the time of day into the file.
    soundfile.write(out, samples.clip(-1.0, 1.0), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return out.getvalue()


def _frames(wave: Waveform) -> Floats:
    """The mel energies that a model sees, `[k, mels]`."""
    import numpy as np

    from voicetone.features.spectral import SpectralConfig, spectral_features

    config = SpectralConfig(lags=0)
    samples = wave.samples[0]
    padded = np.pad(samples, (config.context, -len(samples) % FRAME))
    frames: Floats = spectral_features(padded[None], config)[0]
    return frames


def _picture(frames: Floats, loudest: float) -> bytes:
    """Mel energies as a PNG: time to the right, frequency upwards, `loudest` is brightest."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.image import imsave

    from voicetone.evaluation.figures import METADATA

    decibels = 10 / np.log(10) * (frames.T[::-1] - loudest)
    colours = colormaps["magma"](np.clip(1.0 + decibels / _RANGE, 0.0, 1.0))
    out = io.BytesIO()
    imsave(out, colours, format="png", metadata=METADATA["png"])
    return out.getvalue()
