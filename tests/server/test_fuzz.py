"""The fuzzing of the server's parsers: a short run, and that it would see what goes wrong."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz_server
from fuzz_server import TARGETS, Messages, Target
from voicetone.errors import UsageError


def crash(messages: Messages) -> None:
    """Takes a, refuses b, stumbles over everything else."""
    said = "".join(str(m) for m in messages)
    if said == "b":
        raise UsageError("not b")
    if said != "a":
        raise KeyError(said)


STUMBLES = Target("stumbles", (["a"], ["b"], ["c\ud800", b"\xff"]), crash, 1.0)


# A form that is cut off leaves its file to the interpreter, which closes it at once and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nearly_right_input_is_taken_or_refused(tmp_path: Path) -> None:
    """Some thousand cases; every parser takes some and refuses some."""
    counts = {t.name: range(max(round(40 * t.weight), 60)) for t in TARGETS}
    seen = fuzz_server.fuzz(TARGETS, counts, 2, tmp_path)
    traces = [json.loads(Path(path).read_text())["trace"][-1] for path in seen.crashes]
    assert traces == []
    for name, tally in seen.tallies.items():
        assert tally.cases == len(counts[name])
        assert tally.taken + tally.refused == tally.cases
        assert tally.taken > 0, name
        assert tally.refused > 0, name
    assert sum(tally.cases for tally in seen.tallies.values()) > 3000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("native", json.dumps({"type": "session.update", "metadata": {"a": "\udc80"}})),
        ("twilio", json.dumps({"event": "start", "start": {"callSid": "\ud800"}})),
        ("audiohook", json.dumps({"version": "2", "type": "open", "id": "\ud800"})),
    ],
)
def test_half_a_character_is_refused(name: str, message: str) -> None:
    """JSON may spell half of a surrogate pair; no event with it could be sent or stored."""
    target = next(target for target in TARGETS if target.name == name)
    first = list(target.corpus[0][:1]) if name == "native" else []
    assert not fuzz_server.tried(target, [*first, message])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_is_right_is_taken(target: Target) -> None:
    """Otherwise no change to it would be seen to matter."""
    for messages in target.corpus:
        assert fuzz_server.tried(target, messages)


def test_a_crash_is_kept_and_can_be_run_again(tmp_path: Path) -> None:
    counts = {"stumbles": range(50)}
    seen = fuzz_server.fuzz([STUMBLES], counts, 1, tmp_path)
    tally = seen.tallies["stumbles"]
    assert tally.crashed == len(seen.crashes) == len(list(tmp_path.iterdir()))
    assert tally.crashed == fuzz_server.MOST_CRASHES  # then it is left alone
    said = json.loads(Path(seen.crashes[0]).read_text())
    assert "KeyError" in said["trace"][-1]
    with pytest.raises(KeyError):
        fuzz_server.replay(Path(seen.crashes[0]), [STUMBLES])
    again = fuzz_server.fuzz([STUMBLES], counts, 1, tmp_path / "again")
    assert [Path(p).name for p in again.crashes] == [Path(p).name for p in seen.crashes]
    found = fuzz_server.summary([seen], [], 1.0, 1)
    assert found["crashes"] == tally.crashed
    assert f"crashed: {seen.crashes[0]}" in fuzz_server.told(found)


def test_a_hang_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_server, "HANG_SECONDS", 0.1)
    hangs = Target("hangs", (["a"],), lambda _: time.sleep(20), 1.0)
    seen = fuzz_server.fuzz([hangs], {"hangs": range(1)}, 1, tmp_path)
    assert seen.tallies["hangs"].crashed == 1
    assert "HangError" in json.loads(Path(seen.crashes[0]).read_text())["trace"][-1]


def test_processes_share_all_cases() -> None:
    parts = fuzz_server.shares(TARGETS, 10_000, 3)
    for target in TARGETS:
        numbers = sorted(n for part in parts for n in part[target.name])
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 3
    assert 9_900 < sum(len(numbers) for part in parts for numbers in part.values()) < 10_100
