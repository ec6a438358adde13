"""Transcripts → vectors of their words, as a bundle's graph gives them."""

from __future__ import annotations

import numpy as np

from voicetone.errors import BundleError
from voicetone.language.words import Cutter
from voicetone.pretrained.predictor import INT64, check_finite, check_ports, opened
from voicetone.pretrained.runtime import run_graph
from voicetone.pretrained.text_part import MOST_BYTES, TextPart
from voicetone.types import Floats

_AGAIN = "get the bundle again or export it anew"


class TextReader:
    """The text graph of a bundle. Safe to share between threads.

    Args:
        part: what the bundle says of it.
        name: of the graph's file.
        graph: its bytes.
        vocabulary: bytes of the list of words.
        threads: for the graph.

    Raises:
        BundleError: a list that is not what the bundle says, or a graph that does not fit.
    """

    def __init__(
        self, part: TextPart, name: str, graph: bytes, vocabulary: bytes, threads: int = 1
    ) -> None:
        self._part, self._name = part, name
        self._cutter = Cutter(_words(part, vocabulary), part.limit)
        self._graph = opened(graph, name, threads)
        check_ports(
            self._graph,
            name,
            {"ids": (None, None), "mask": (None, None)},
            {"vectors": (None, None, part.size)},
            {"ids": INT64},
        )
        for ids in ([part.words], [1] * part.limit):  # every word, and the longest text
            self._run(ids)

    def knows(self, text: str) -> bool:
        """Whether it reads any word of a text."""
        return bool(self._cutter.cut(text).ids)

    def vectors(self, text: str | None) -> Floats | None:
        """Vectors of the known words of a text `[l, size]`; None where there are none.

        Raises:
            BundleError: the graph fails or gives something other than numbers.
        """
        ids = self._cutter.cut(text).ids if text else []
        return self._run(ids) if ids else None

    def _run(self, ids: list[int]) -> Floats:
        inputs = {"ids": np.array([ids], np.int64), "mask": np.ones((1, len(ids)), np.float32)}
        (found,) = run_graph(self._graph, inputs, ["vectors"])
        wanted = (1, len(ids), self._part.size)
        if found.shape != wanted:
            raise BundleError(
                f"{self._name}: its vectors have the shape {list(found.shape)} where the bundle "
                f"says {list(wanted)}"
            )
        check_finite(found, self._name)
        return np.asarray(found[0])


def _words(part: TextPart, data: bytes) -> list[str]:
    """The words of a list.

    Raises:
        BundleError: it is none, or another one.
    """
    if len(data) > MOST_BYTES:
        raise BundleError(
            f"{part.vocabulary}: a list of words of over {MOST_BYTES >> 20} MiB, which no bundle "
            "may have"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BundleError(
            f"{part.vocabulary}: not a list of words in UTF-8 ({error.reason}): {_AGAIN}"
        ) from None
    words = text.removesuffix("\n").split("\n")
    if len(words) != part.words or len(set(words)) < len(words) or not all(words):
        raise BundleError(
            f"{part.vocabulary}: not the {part.words} different words that the bundle says: "
            f"{_AGAIN}"
        )
    return words
