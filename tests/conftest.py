"""What tests share: the example call, the real recordings, and programs a machine may lack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _needs_program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("VOICETONE_REQUIRE_SYSTEM") == "1":
            pytest.fail(f"{reason}, and VOICETONE_REQUIRE_SYSTEM=1 says that it must be")
        pytest.skip(reason)
    return Path(found)


@pytest.fixture(scope="session")
def needs_program() -> Callable[[str], Path]:
    """`needs_program("chromium")`: its path; without it the test skips or, in CI, fails."""
    return _needs_program


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def example_call() -> Path:
    """The synthetic two-party call: 8 kHz, agent and customer."""
    return ROOT / "examples" / "call.flac"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real recordings; the test skips where VOICETONE_DATA does not point at them."""
    folder = os.environ.get("VOICETONE_DATA")
    if not folder:
        pytest.skip("VOICETONE_DATA is not set: no real recordings to test on")
    if not Path(folder).is_dir():
        pytest.fail(f"VOICETONE_DATA is {folder}, which is no folder")
    return Path(folder)
