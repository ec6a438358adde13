"""The small text encoder: how words are cut, and what it does not read."""

from __future__ import annotations

import pytest
import torch

from voicetone.errors import DataError
from voicetone.training.fusion_words import Words, vocabulary, words_of


def words(*known: str, limit: int = 4, layers: int = 1) -> Words:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Words(known, width=8, layers=layers, heads=2, dropout=0.1, limit=limit).eval()


def test_words_are_cut() -> None:
    assert words_of("It’s  FINE, isn't it? 12_3 Überall…") == [
        *("it's", "fine", "isn't", "it", "12", "3", "überall"),
    ]
    assert words_of("… !") == []


def test_the_vocabulary_is_the_most_frequent() -> None:
    assert vocabulary(["b a b", None, "c a b"], 2) == ("b", "a")
    assert vocabulary(["b a"], 9) == ("a", "b")
    assert vocabulary([None, ""], 9) == ()


def test_transcripts_of_every_kind() -> None:
    read = words("all", "is", "well")
    tokens = read.tokens(["all is well", "All zebra is", "zebra", "", None, "all " * 10])
    assert tokens.known.tolist() == [1, 1, 0, 0, 0, 1]
    assert tokens.unknown == (0, 1, 1, 0, 0, 0)
    assert tokens.cut == (False, False, False, False, False, True)
    assert tokens.mask.sum(1).tolist() == [3, 2, 1, 1, 1, 4]
    assert torch.equal(tokens.ids[1, :2], read.tokens(["all is"]).ids[0])
    endless = read.tokens(["all " * 10**6])
    assert endless.ids.shape == (1, 4)
    assert endless.cut == (True,)
    assert read.tokens([]).ids.shape == (0, 1)


@pytest.mark.parametrize("layers", [0, 2])
def test_a_batch_is_each_text_alone(layers: int) -> None:
    read = words("all", "is", "well", layers=layers)
    texts = ["all is well", "well", None, "is all"]
    tokens = read.tokens(texts)
    with torch.no_grad():
        whole = read(tokens.ids, tokens.mask)
        assert not whole[tokens.mask == 0].any()
        for row, text in enumerate(texts):
            one = read.tokens([text])
            count = one.ids.shape[1]
            assert torch.allclose(read(one.ids, one.mask)[0], whole[row, :count], atol=1e-5)


def test_sizes_that_can_not_be() -> None:
    with pytest.raises(DataError, match="can't be split"):
        Words(("a",), width=9, layers=1, heads=3, dropout=0.0, limit=4)
