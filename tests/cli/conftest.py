"""What the tests of the command line share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.toy import make_toy_bundle

from voicetone.cli.main import run

RATE = 8_000
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on standard error but for the model's notice."""
        return [line for line in self.err.splitlines() if "toy model knows nothing" not in line]


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy bundle."""
    return make_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def voicetone(capfdbinary: pytest.CaptureFixture[bytes], toy: Path) -> Run:
    """Run a command line in this process; `analyze` gets the toy model unless it names one."""

    def call(*arguments: object) -> Done:
        words = [str(argument) for argument in arguments]
        if words[:1] == ["analyze"] and "--model" not in words:
            words += ["--model", str(toy)]
        capfdbinary.readouterr()
        try:
            code = run(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return call


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that finds the sources."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "ORT_DISABLE_TELEMETRY": "1", **changes}


def command(*arguments: object) -> list[str]:
    """A command line for another process."""
    return [sys.executable, "-m", "voicetone", *map(str, arguments)]


def in_process(arguments: Sequence[object], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command line in another process."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        **options,  # type: ignore[call-overload]
    )


def noise(seconds: float = 3.0, channels: int = 1, seed: int = 0) -> np.ndarray:
    """What the toy model takes for speech, `[n, channels]`, with a pause in the middle."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0.0, 0.1, (round(seconds * RATE), channels))
    third = len(samples) // 3
    samples[third : 2 * third] = 0.0
    return samples.astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A two-channel recording of 9 s."""
    return write_audio(tmp_path / "call.wav", noise(9.0, channels=2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings in a folder with a sub-folder."""
    place = tmp_path / "calls"
    for i, name in enumerate(("a.wav", "b.flac", "sub/a.wav")):
        write_audio(place / name, noise(3.0 + i, seed=i))
    return place
