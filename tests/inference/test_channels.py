from __future__ import annotations

import pytest

from voicetone.errors import UsageError
from voicetone.inference.channels import choose_channels


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["agent", "customer"], (2,)),
        (["Caller", "AGENT 7"], (1,)),
        (["customer", "Sales Representative"], (1,)),
        (["internal", "external"], (2,)),
        (["agent", "customer", "supervisor"], (2,)),
        (["agent", "other"], (2,)),
        (["customer agent", "customer"], (2,)),
        (["agent", "agent"], (1, 2)),
        (["left", "right"], (1, 2)),
        (["customer", "customer"], (1, 2)),
        (["", ""], (1, 2)),
        (["agent"], (1,)),
    ],
)
def test_default(names: list[str], wanted: tuple[int, ...]) -> None:
    choice = choose_channels(len(names), names)
    assert choice.channels == wanted
    assert choice.reason


def test_without_names_all_are_analysed() -> None:
    assert choose_channels(1).channels == (1,)
    assert choose_channels(3).channels == (1, 2, 3)


def test_the_agent_is_analysed_when_asked_for() -> None:
    choice = choose_channels(2, ["agent", "customer"], [2, 1])
    assert choice.channels == (1, 2)
    assert choice.reason == "as asked for"


def test_the_reason_says_how_to_have_the_others() -> None:
    assert "ask for" in choose_channels(2, ["agent", "customer"]).reason


@pytest.mark.parametrize(
    ("count", "names", "analysed", "words"),
    [
        (2, ["one"], None, "1 channel name for 2 channels"),
        (1, ["one", "two"], None, "2 channel names for 1 channel: "),
        (2, None, [], "no channel to analyse"),
        (2, None, [3], "no channel 3: the audio has channels 1 to 2"),
        (2, None, [0], "no channel 0: the audio has channels 1 to 2"),
        (1, None, [2], "only channel 1"),
        (2, None, [-1], "no channel -1"),
        (2, None, [1, 1], "twice"),
    ],
)
def test_what_does_not_fit(
    count: int, names: list[str] | None, analysed: list[int] | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose_channels(count, names, analysed)
