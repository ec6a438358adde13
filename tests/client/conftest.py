"""What the tests of the client share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.client.serving import Running, serving
from tests.toy import make_toy_bundle

from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.server.settings import Settings

RATE = 8000


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model's folder."""
    return make_toy_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def predictor(bundle: Path) -> Predictor:
    """The toy model."""
    return load(bundle)


@pytest.fixture(scope="module")
def server(predictor: Predictor, bundle: Path) -> Iterator[Running]:
    """A server without keys."""
    with serving(predictor, Settings(model=str(bundle))) as running:
        yield running


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """31 s on two channels, with silence in between."""
    rng = np.random.default_rng(3)
    sound = 0.1 * rng.standard_normal((31 * RATE, 2))
    sound[8 * RATE : 13 * RATE, 0] = 0
    sound[16 * RATE : 19 * RATE] = 0
    path = tmp_path_factory.mktemp("recording") / "two.wav"
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def needs_node() -> Path:
    """Node with a WebSocket of its own; without one the test skips."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    done = subprocess.run(
        [
            found,
            "--experimental-websocket",
            "-e",
            "new WebSocket('ws://127.0.0.1:9').onerror=()=>0",
        ],
        capture_output=True,
        timeout=30,
    )
    if done.returncode != 0:
        pytest.skip("this node has no WebSocket")
    return Path(found)
