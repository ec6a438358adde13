"""Speech emotion and voice-tone analysis.

    import voicetone
    model = voicetone.load("tone-small")
    result = voicetone.analyze("call.flac", model)

The public names are found on first use, so that `import voicetone` stays light: neither the
model runtime nor anything optional is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from voicetone._version import __version__

if TYPE_CHECKING:
    from voicetone.inference.file import analyze
    from voicetone.inference.live import LiveSession
    from voicetone.pretrained import load
    from voicetone.types import Prediction, Utterance, Waveform

__all__ = [
    "LiveSession",
    "Prediction",
    "Utterance",
    "Waveform",
    "__version__",
    "analyze",
    "load",
]

_HOME = {
    "LiveSession": "voicetone.inference.live",
    "Prediction": "voicetone.types",
    "Utterance": "voicetone.types",
    "Waveform": "voicetone.types",
    "analyze": "voicetone.inference.file",
    "load": "voicetone.pretrained",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'voicetone' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
