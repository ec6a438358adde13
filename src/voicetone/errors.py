"""The errors voicetone raises on purpose.

One root, few leaves. Each message is a single line that says which file, what is wrong and what
to do; the command line prints it as it is and exits with the leaf's `exit_code`.
"""

from __future__ import annotations


class VoicetoneError(Exception):
    """Root of every error that voicetone raises on purpose."""

    exit_code = 3


class UsageError(VoicetoneError):
    """An option or argument that can't be what was meant."""

    exit_code = 2


class AudioError(VoicetoneError):
    """Audio that can't be read or that no model may hear."""


class BundleError(VoicetoneError):
    """A model bundle that is missing, damaged or not to be trusted."""


class DataError(VoicetoneError):
    """A manifest, corpus folder or prediction table that can't be used."""


class MissingExtraError(VoicetoneError):
    """An optional dependency that is not installed."""

    exit_code = 4

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'voicetone[{extra}]'")
        self.extra = extra
