from __future__ import annotations

import pytest

from voicetone.errors import UsageError
from voicetone.inference.channels import choose_channels


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["agent", "customer"], (1,)),
        (["Caller", "AGENT 7"], (0,)),
        (["customer", "Sales Representative"], (0,)),
        (["internal", "external"], (1,)),
        (["agent", "customer", "supervisor"], (1,)),
        (["agent", "other"], (1,)),
        (["customer agent", "customer"], (1,)),
        (["agent", "agent"], (0, 1)),
        (["left", "right"], (0, 1)),
        (["customer", "customer"], (0, 1)),
        (["", ""], (0, 1)),
        (["agent"], (0,)),
    ],
)
def test_default(names: list[str], wanted: tuple[int, ...]) -> None:
    choice = choose_channels(len(names), names)
    assert choice.channels == wanted
    assert choice.reason


def test_without_names_all_are_analysed() -> None:
    assert choose_channels(1).channels == (0,)
    assert choose_channels(3).channels == (0, 1, 2)


def test_the_agent_is_analysed_when_asked_for() -> None:
    choice = choose_channels(2, ["agent", "customer"], [1, 0])
    assert choice.channels == (0, 1)
    assert choice.reason == "as asked for"


def test_the_reason_says_how_to_have_the_others() -> None:
    assert "ask for" in choose_channels(2, ["agent", "customer"]).reason


@pytest.mark.parametrize(
    ("count", "names", "analysed", "words"),
    [
        (2, ["one"], None, "1 channel names for 2"),
        (2, None, [], "no channel to analyse"),
        (2, None, [2], "no channel 2: the audio has channels 0 to 1"),
        (1, None, [1], "only channel 0"),
        (2, None, [-1], "no channel -1"),
        (2, None, [1, 1], "twice"),
    ],
)
def test_what_does_not_fit(
    count: int, names: list[str] | None, analysed: list[int] | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose_channels(count, names, analysed)
