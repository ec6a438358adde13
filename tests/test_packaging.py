"""What the two wheels hold, and that the pages build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "tone-small"
WEIGHTS_MB = 12


def wheel(project: Path, into: Path) -> zipfile.ZipFile:
    """Build a project's wheel without a network."""
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--disable-pip-version-check", "--wheel-dir", str(into), str(project)],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PIP_BUILD_CONSTRAINT"},
    )
    assert done.returncode == 0, done.stderr
    (made,) = into.glob("*.whl")
    return zipfile.ZipFile(made)


def test_wheel_of_the_code_holds_everything_in_src(tmp_path: Path) -> None:
    with wheel(ROOT, tmp_path) as made:
        names = set(made.namelist())
    src = ROOT / "src"
    wanted = {
        p.relative_to(src).as_posix()
        for p in (src / "voicetone").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert wanted - names == set()
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert not [n for n in names if n.endswith((".onnx", ".flac"))]


def test_wheel_of_the_weights_holds_the_bundle_and_its_licence(tmp_path: Path) -> None:
    folder = BUNDLE / "src" / "voicetone_tone_small"
    spec = json.loads((folder / "bundle.json").read_text("utf-8"))
    with wheel(BUNDLE, tmp_path) as made:
        held = {Path(n).name: made.getinfo(n).file_size for n in made.namelist()}
        metadata = next(n for n in made.namelist() if n.endswith("METADATA"))
        assert "License-Expression: CC-BY-NC-SA-4.0" in made.read(metadata).decode()
    assert {"LICENSE", "NOTICE", "bundle.json", *spec["files"]} <= set(held)
    assert sum(held[name] for name in spec["files"]) <= WEIGHTS_MB * 1e6
    assert "NC" in spec["licence"]


def test_the_package_of_the_weights_has_the_version_of_the_bundle() -> None:
    spec = json.loads((BUNDLE / "src" / "voicetone_tone_small" / "bundle.json").read_text("utf-8"))
    project = tomllib.loads((BUNDLE / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == spec["version"]


def test_notice_names_every_corpus_of_the_bundle() -> None:
    spec = json.loads((BUNDLE / "src" / "voicetone_tone_small" / "bundle.json").read_text("utf-8"))
    notice = (BUNDLE / "NOTICE").read_text("utf-8").lower().replace("-", "")
    for corpus in spec["training"]:
        assert corpus["corpus"].split()[0].lower().replace("-", "") in notice


@pytest.mark.slow
def test_pages_build_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "googleapis" not in page
