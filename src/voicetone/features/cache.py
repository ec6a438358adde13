"""Features on disk, found by what was heard and how: by content, not by name or date.

One `.npy` file per utterance below a folder per settings. Files appear whole or not at all, so a
run may be killed at any time, and several may share a cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.types import Floats, Utterance

_BLOCK = 2**20  # bytes


def cache_root() -> Path:
    """`features` below `VOICETONE_CACHE`, or below `.cache` in the current folder."""
    return Path(os.environ.get("VOICETONE_CACHE", ".cache")) / "features"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def content_key(utterance: Utterance, content: str) -> str:
    """A hash of what is heard: the file's content and which part of it.

    Args:
        utterance: says the part.
        content: `file_hash` of its file.
    """
    # What was cached of channels when they were counted from 0 is not found any more.
    channel = None if utterance.channel is None else f"{utterance.channel} from 1"
    part = [content, utterance.start, utterance.end, channel]
    return hashlib.sha256(json.dumps(part).encode()).hexdigest()


class FeatureCache:
    """Features of one settings."""

    def __init__(self, root: Path, name: str, settings: Mapping[str, Any]) -> None:
        text = json.dumps(settings, sort_keys=True)
        self.folder = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._text = text

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> Floats | None:
        """The features, or None where there are none or the file is damaged."""
        try:
            values = np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return np.asarray(values, dtype=np.float32)

    def put(self, key: str, values: Floats) -> None:
        """Keep features."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = self.folder / "settings.json"
        if not told.exists():
            write_whole(told, self._text.encode())
        unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        with unfinished.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        unfinished.replace(path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; its folder must be there."""
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
