"""Feature sets by name, all behind one interface: samples in, an array of named features out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import AudioError, DataError, MissingExtraError
from voicetone.features.energies import COEFFICIENTS, mel_energies, mfcc
from voicetone.types import Floats

Level = Literal["", "functionals", "frames"]

OPENSMILE = ("ComParE_2016", "IS13", "IS10", "eGeMAPSv02")
_BANDS: Mapping[str, int] = {"logmel": 64, "mfb": 40}
SETS = (*OPENSMILE, *_BANDS, "mfcc")
SSL = "ssl"
"""Hidden states of a self-supervised model, of `voicetone.features.ssl`; never in a bundle."""
LICENCE = (
    "openSMILE features: openSMILE is for research and education only (audEERING's licence), "
    "not for commercial products"
)
_LOUDEST = 32767 / 32768  # openSMILE makes 16 bits of samples, and what lies beyond wraps round
_VERSION = 1  # raised when what is computed here changes


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """Which features.

    Args:
        name: one of `SETS`, or `SSL`.
        level: `functionals` is one vector per utterance, `frames` one per 10 ms (20 ms of most
            self-supervised models); empty takes functionals of openSMILE's sets and of `SSL`, and
            frames of the others. Functionals of all but openSMILE are mean and standard deviation
            over the frames.
        cut_seconds: hear only so many seconds from the start; None hears all.
        model: with `SSL`, the folder of the model.
        layer: with `SSL`, which hidden state; 0 is before the first layer.

    Raises:
        DataError: no such set or level, a cut that leaves nothing, or a model and layer missing
            or out of place.
    """

    name: str = "ComParE_2016"
    level: Level = ""
    cut_seconds: float | None = None
    model: str = ""
    layer: int | None = None

    def __post_init__(self) -> None:
        if self.name not in (*SETS, SSL):
            raise DataError(f"no feature set {self.name!r}: choose one of {', '.join(SETS)}, {SSL}")
        if self.name == SSL and (not self.model or self.layer is None):
            raise DataError(f"the feature set {SSL} needs both model, a folder, and layer")
        if self.name != SSL and (self.model or self.layer is not None):
            raise DataError(f"model and layer are for the feature set {SSL}, not for {self.name}")
        if self.level not in ("", "functionals", "frames"):
            raise DataError(f"no level {self.level!r} of features: functionals or frames")
        if self.cut_seconds is not None and not self.cut_seconds > 0:
            raise DataError(f"cut_seconds = {self.cut_seconds} leaves nothing: give seconds over 0")

    @property
    def functionals(self) -> bool:
        """Whether an utterance is one vector."""
        return self.level == "functionals" or (not self.level and self.name in (*OPENSMILE, SSL))

    def __str__(self) -> str:
        level = "functionals" if self.functionals else "frames"
        cut = "" if self.cut_seconds is None else f", first {self.cut_seconds:g} s"
        of = f" of {Path(self.model).name}, layer {self.layer}" if self.name == SSL else ""
        return f"{self.name} {level}{of}{cut}"


@dataclass(frozen=True, slots=True)
class Extractor:
    """What computes a set. `settings` is all that decides the values, for the cache."""

    config: FeatureConfig
    settings: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names."""
        return _computer(self.config)[0]

    def compute(self) -> Callable[[Floats], Floats]:
        """Samples → features; loads what it needs when it is first asked for."""
        return _computer(self.config)[1]

    def __call__(self, samples: Floats) -> Floats:
        """Features of one utterance.

        Args:
            samples: `[n]` at 16 kHz.

        Returns:
            `[features]`, or `[frames, features]`.

        Raises:
            AudioError: too short for this set, which shows as NaN or no frame at all.
        """
        if self.config.cut_seconds is not None:
            samples = samples[: round(self.config.cut_seconds * SAMPLE_RATE)]
        values = np.ascontiguousarray(self.compute()(samples), dtype=np.float32)
        if not values.size or not np.isfinite(values).all():
            raise AudioError(
                f"{len(samples) / SAMPLE_RATE:.3f} s is too short for {self.config.name}, which "
                "gives NaN or nothing: leave it out of the manifest"
            )
        return values


def extractor(config: FeatureConfig) -> Extractor:
    """The extractor of one of `SETS`. What it needs is loaded when it is first used.

    Raises:
        MissingExtraError: openSMILE is not installed.
    """
    settings = {**asdict(config), "level": config.functionals, "version": _VERSION}
    del settings["model"], settings["layer"]  # of `SSL` only
    if config.name in OPENSMILE:
        try:
            settings["opensmile"] = version("opensmile")
        except PackageNotFoundError as error:
            raise MissingExtraError(f"the feature set {config.name}", "opensmile") from error
    return Extractor(config, settings)


@lru_cache(maxsize=8)
def _computer(config: FeatureConfig) -> tuple[tuple[str, ...], Callable[[Floats], Floats]]:
    """Names of the features and what computes them."""
    if config.name in OPENSMILE:
        import opensmile

        levels = opensmile.FeatureLevel
        level = levels.Functionals if config.functionals else levels.LowLevelDescriptors
        smile = opensmile.Smile(opensmile.FeatureSet[config.name], level)
        return tuple(smile.feature_names), partial(_run_smile, smile, config.functionals)
    if config.name == "mfcc":
        names = tuple(f"mfcc_{i}" for i in range(COEFFICIENTS))
        compute: Callable[[Floats], Floats] = mfcc
    else:
        bands = _BANDS[config.name]
        names = tuple(f"{config.name}_{i}" for i in range(bands))
        compute = partial(mel_energies, bands=bands)
    if not config.functionals:
        return names, compute
    summed = tuple(f"{name}_{kind}" for kind in ("mean", "sd") for name in names)
    return summed, partial(mean_and_sd, compute)


def mean_and_sd(compute: Callable[[Floats], Floats], samples: Floats) -> Floats:
    """Mean and standard deviation `[2 features]` over the frames that samples give."""
    frames = compute(samples)
    if not len(frames):
        return frames[0:0, 0]
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def _run_smile(smile: Any, functionals: bool, samples: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a short segment; the NaN it leaves are looked for
        values = smile.process_signal(np.clip(samples, -1, _LOUDEST), SAMPLE_RATE).to_numpy(
            dtype=np.float32
        )
    return np.asarray(values[0] if functionals else values)


@lru_cache(maxsize=1)
def say_licence() -> None:
    """Say once in this process what openSMILE may be used for, on stderr."""
    print(LICENCE, file=sys.stderr, flush=True)
