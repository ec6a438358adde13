"""Transcripts as numbers: characters or sub-words of any language, and tokens of sentiment.

Sub-words are byte-pair encoding over characters (Sennrich et al., ACL 2016), by the package
`tokenizers`; characters are the same without merges. The first eight numbers are the same in every
vocabulary, so a network's outputs can be read without it.
"""

from __future__ import annotations

import json
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from voicetone.errors import DataError, MissingExtraError

PAD = 0
"""Padding, and the blank of CTC."""
SOS = 1
EOS = 2
UNK = 3
SENTIMENT_TOKENS = {"positive": 4, "neutral": 5, "negative": 6}
UNKNOWN = 7
"""Stands where the sentiment is not known."""
SPECIALS = (
    "<pad>",
    "<sos>",
    "<eos>",
    "<unk>",
    "<positive>",
    "<neutral>",
    "<negative>",
    "<unknown>",
)
FIRST = len(SPECIALS)
"""The first token that is text."""

Kind = Literal["characters", "subwords"]

_SPACE = "▁"  # stands for a space inside pieces
_FORMAT = 1
_LARGEST_FILE = 4 * 2**20  # bytes
_MOST_TOKENS = 32_000
_LONGEST_PIECE = 64  # characters
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})


def normalised(text: str) -> str:
    """A transcript as it is learnt and scored.

    NFC, lower case; punctuation and symbols become gaps, but for apostrophes inside words;
    words are joined by single spaces.
    """
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    plain = plain.translate(_APOSTROPHES)
    kept = []
    for place, letter in enumerate(plain):
        around = plain[max(place - 1, 0) : place] + plain[place + 1 : place + 2]
        inside = letter == "'" and len(around) == 2 and all(_spoken(a) for a in around)
        if inside or _spoken(letter):
            kept.append(letter)
        elif unicodedata.category(letter) != "Cf":  # joiners and marks of direction leave no gap
            kept.append(" ")
    return " ".join("".join(kept).split())


def _spoken(letter: str) -> bool:
    """Letters, their marks and numerals."""
    return unicodedata.category(letter)[0] in "LMN"


@dataclass(frozen=True)
class Tokens:
    """A vocabulary.

    Args:
        kind: characters, or sub-words.
        vocabulary: the pieces in the order of their numbers, `SPECIALS` first.
        merges: pairs of pieces that sub-words are built from, in order; none for characters.
    """

    kind: Kind
    vocabulary: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The numbers of a transcript; what is outside the vocabulary is `UNK`, one for each
        character."""
        plain = normalised(text)
        return list(self._tokenizer.encode(plain).ids) if plain else []

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of numbers; those that are not text are left out."""
        pieces = (self.vocabulary[t] for t in tokens if FIRST <= t < len(self.vocabulary))
        return " ".join("".join(pieces).replace(_SPACE, " ").split())

    def outside(self, texts: Iterable[str]) -> Counter[str]:
        """The characters of texts that the vocabulary lacks, with how often they stand there."""
        counts = Counter("".join(normalised(text) for text in texts).replace(" ", ""))
        return Counter({c: n for c, n in counts.items() if c not in self._letters})

    @cached_property
    def _letters(self) -> frozenset[str]:
        return frozenset(piece for piece in self.vocabulary if len(piece) == 1)

    @cached_property
    def _tokenizer(self) -> Any:
        library = _library()
        numbers = {piece: number for number, piece in enumerate(self.vocabulary)}
        model = library.models.BPE(
            vocab=numbers, merges=list(self.merges), unk_token=SPECIALS[UNK], fuse_unk=False
        )
        made = library.Tokenizer(model)
        made.pre_tokenizer = _words(library, self.kind)
        return made

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON, whole or not at all."""
        facts = {
            "format": _FORMAT,
            "kind": self.kind,
            "vocabulary": self.vocabulary,
            "merges": self.merges,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{uuid.uuid4().hex}")
        unfinished.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
        unfinished.replace(path)


def train_tokens(texts: Sequence[str], kind: Kind = "characters", size: int = 500) -> Tokens:
    """The vocabulary of transcripts.

    Args:
        texts: the transcripts that may be learnt from; the order makes no difference.
        kind: `characters`, or `subwords` with merges learnt from the texts.
        size: of the vocabulary of sub-words, the eight specials included; fewer if the texts give
            no more.

    Raises:
        DataError: no text, more characters than a vocabulary may have, or a size out of range.
        MissingExtraError: sub-words without the package `tokenizers`.
    """
    plain = sorted(t for t in (normalised(text) for text in texts) if t)
    if not plain:
        raise DataError("no transcript holds any word: tokens need text to be learnt from")
    letters = sorted(set("".join(plain).replace(" ", _SPACE)) | {_SPACE})
    least = FIRST + len(letters)
    if least > _MOST_TOKENS:
        raise DataError(
            f"transcripts hold {len(letters)} different characters: at most "
            f"{_MOST_TOKENS - FIRST} can be learnt; check their encoding"
        )
    if kind == "characters":
        return Tokens(kind, (*SPECIALS, *letters))
    if not least < size <= _MOST_TOKENS:
        raise DataError(
            f"a vocabulary of {size} sub-words: give more than the {least} that the characters "
            f"take, and at most {_MOST_TOKENS}"
        )
    library = _library()
    learner = library.Tokenizer(library.models.BPE(unk_token=SPECIALS[UNK]))
    learner.pre_tokenizer = _words(library, kind)
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*SPECIALS, *letters],
        max_token_length=_LONGEST_PIECE,
        show_progress=False,
    )
    learner.train_from_iterator(plain, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges]
    made = dict.fromkeys(left + right for left, right in pairs)
    return Tokens(kind, (*SPECIALS, *letters, *made), tuple((a, b) for a, b in pairs))


def load_tokens(path: Path) -> Tokens:
    """Read what `Tokens.save` wrote.

    Raises:
        DataError: no such file, or none of a vocabulary within bounds.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise ValueError("larger than 4 MiB")
        facts = json.loads(raw.decode("utf-8"))
        return _checked(facts)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path}: no vocabulary of tokens ({error}); delete it and train again"
        ) from error


def _checked(facts: Any) -> Tokens:
    """The vocabulary of a file's content.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    if not isinstance(facts, dict) or facts["format"] != _FORMAT:
        raise ValueError(f"not of format {_FORMAT}")
    kind, pieces, merges = facts["kind"], facts["vocabulary"], facts["merges"]
    if kind not in ("characters", "subwords"):
        raise ValueError("another kind of tokens")
    if not isinstance(pieces, list) or not FIRST < len(pieces) <= _MOST_TOKENS:
        raise ValueError("an impossible number of tokens")
    if not all(isinstance(p, str) and 0 < len(p) <= _LONGEST_PIECE for p in pieces):
        raise ValueError("a token that is no short text")
    if tuple(pieces[:FIRST]) != SPECIALS or len(set(pieces)) != len(pieces):
        raise ValueError("special tokens out of place, or a token twice")
    known = set(pieces[FIRST:])
    if not isinstance(merges, list) or len(merges) > len(pieces):
        raise ValueError("more merges than tokens")
    pairs = tuple((str(left), str(right)) for left, right in merges)
    if any(not {left, right, left + right} <= known for left, right in pairs):
        raise ValueError("a merge of pieces that are no tokens")
    return Tokens(kind, tuple(pieces), pairs)


def _words(library: Any, kind: Kind) -> Any:
    """How text is cut before merging: sub-words don't reach over spaces."""
    if kind == "subwords":
        return library.pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    return library.pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)


def _library() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise MissingExtraError("tokens of transcripts", "train") from None
    return tokenizers
