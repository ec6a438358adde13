"""Words: what was said, and how it reads. One file per provider, each imported when it is used."""

from voicetone.language.answers import Opinion, Spoken, TextLabeller, Transcriber, primary

__all__ = ["Opinion", "Spoken", "TextLabeller", "Transcriber", "primary"]
