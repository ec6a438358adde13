"""Generators that know what they are for, so that neither order nor processes change a draw."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*parts: object) -> np.random.Generator:
    """A generator seeded by a hash of its parts, such as seed, utterance and condition."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
