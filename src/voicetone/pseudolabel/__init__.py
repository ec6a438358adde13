"""A manifest with gaps → the same manifest filled by machines, each value with its provenance."""

from voicetone.pseudolabel.fill import Filled, fill
from voicetone.pseudolabel.journal import Entry, Journal

__all__ = ["Entry", "Filled", "Journal", "fill"]
