"""Tokens of transcripts: normalised text there and back, and files that are not to be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voicetone.errors import DataError
from voicetone.language.tokens import (
    FIRST,
    SENTIMENT_TOKENS,
    SPECIALS,
    UNK,
    UNKNOWN,
    Tokens,
    load_tokens,
    normalised,
    train_tokens,
)

pytest.importorskip("tokenizers")

POLISH = "Proszę, chodźmy w tango!"
GERMAN = "Das schwarze Stück Papier."
TEXTS = [POLISH, GERMAN, "Don't stop", "Das Stück", "das Papier"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  Don’t  STOP! ", "don't stop"),
        ("'quoted' words' end", "quoted words end"),
        ("well-known, e.g. one,two", "well known e g one two"),
        ("Stu\u0308ck", "stück"),
        ("İstanbul", "i\u0307stanbul"),
        ("<positive> 5 $", "positive 5"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("可以吗？好。", "可以吗 好"),
        ("a\u200bb\u0000c", "ab c"),
        ("?! …", ""),
    ],
)
def test_text_is_normalised(text: str, plain: str) -> None:
    assert normalised(text) == plain
    assert normalised(plain) == plain


def test_specials_have_fixed_places() -> None:
    tokens = train_tokens(TEXTS)
    assert tokens.vocabulary[:FIRST] == SPECIALS
    for name, place in {**SENTIMENT_TOKENS, "unknown": UNKNOWN}.items():
        assert tokens.vocabulary[place] == f"<{name}>"
    assert not {*range(3), 4, 5, 6, 7} & set(tokens.encode("<positive> <eos> papier"))


@pytest.mark.parametrize("kind", ["characters", "subwords"])
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    tokens = train_tokens(TEXTS, kind, 60)  # type: ignore[arg-type]
    for text in TEXTS:
        found = tokens.encode(text)
        assert tokens.decode([1, *found, 2, 0]) == normalised(text)
        assert UNK not in found
    assert tokens.encode("?!") == []
    tokens.save(tmp_path / "deep" / "tokens.json")
    again = load_tokens(tmp_path / "deep" / "tokens.json")
    assert again == tokens
    assert again.encode(GERMAN) == tokens.encode(GERMAN)
    assert train_tokens(TEXTS[::-1], kind, 60) == tokens  # type: ignore[arg-type]


def test_subwords_are_shorter_and_stay_inside_words() -> None:
    tokens = train_tokens(TEXTS * 3, "subwords", 70)
    assert len(tokens) <= 70
    assert len(tokens.encode(GERMAN)) < len(train_tokens(TEXTS).encode(GERMAN)) / 2
    assert all("▁" not in piece[1:] for piece in tokens.vocabulary[FIRST:])


def test_characters_outside_are_counted() -> None:
    tokens = train_tokens(["one two"])
    assert tokens.outside(["One, two x!", "żx"]) == {"x": 2, "ż": 1}
    assert tokens.encode("oxn").count(UNK) == 1
    assert tokens.decode(tokens.encode("oxn")) == "on"


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(DataError, match="no transcript holds any word"):
        train_tokens(["?", ""])
    for size in (10, 32_001):
        with pytest.raises(DataError, match="sub-words: give more than"):
            train_tokens(["one two"], "subwords", size)
    many = "".join(chr(0x20000 + k) for k in range(32_000))
    with pytest.raises(DataError, match="different characters"):
        train_tokens([many])


GOOD = {
    "format": 1,
    "kind": "subwords",
    "vocabulary": [*SPECIALS, "a", "b", "ab"],
    "merges": [["a", "b"]],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"kind": "words"},
        {"vocabulary": list(SPECIALS)},
        {"vocabulary": [*SPECIALS, "a", "a"]},
        {"vocabulary": ["a", *SPECIALS]},
        {"vocabulary": [*SPECIALS, "a" * 65]},
        {"vocabulary": [*SPECIALS, 5]},
        {"vocabulary": [*SPECIALS, *(f"a{k}" for k in range(32_000))]},
        {"vocabulary": 5},
        {"merges": [["a", "c"]]},
        {"merges": [["a"]]},
        {"merges": [["<pad>", "a"]]},
        {"merges": [["a", "b"]] * 100},
        {"merges": None},
    ],
)
def test_damaged_vocabularies_are_refused(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(GOOD), "utf-8")
    assert load_tokens(path).encode("ab") == [UNK, FIRST + 2]  # there is no piece for a gap
    path.write_text(json.dumps({**GOOD, **changes}), "utf-8")
    with pytest.raises(DataError, match="no vocabulary of tokens"):
        load_tokens(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"{}", b"[" * 100_000, b" " * (4 * 2**20 + 1)]
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no vocabulary of tokens"):
        load_tokens(path)
    with pytest.raises(DataError, match="no vocabulary of tokens"):
        load_tokens(tmp_path / "none.json")


def test_equality_is_of_content() -> None:
    assert train_tokens(["ab"]) == Tokens("characters", (*SPECIALS, "a", "b", "▁"))
