"""Frames in any order, tracks that come apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicetone.server.refusal import RefusedError
from voicetone.server.reorder import Frame, Mixer
from voicetone.server.telephony import Audio, Hole


def test_numbers_that_count_all_tracks_together_lose_nothing() -> None:
    mixer = Mixer(2, 8000, 1, 0xFF)
    out = bytearray()
    holes = []
    for number in range(1, 401):
        frame = Frame(number, (number - 1) // 2 * 160, bytes([1 + number % 2]) * 160)
        for action in mixer.put((number - 1) % 2, frame):
            out += action.data if isinstance(action, Audio) else b""
            holes += [action] if isinstance(action, Hole) else []
    for action in mixer.rest():
        out += action.data if isinstance(action, Audio) else b""
        holes += [action] if isinstance(action, Hole) else []
    assert holes == []
    assert bytes(out) == b"\2\1" * (200 * 160)


def test_what_comes_too_late_is_told() -> None:
    mixer = Mixer(2, 8000, 1, 0xFF)
    out, holes = bytearray(), []

    def put(track: int, number: int) -> None:
        for action in mixer.put(track, Frame(number, (number - 1) * 160, bytes([number]) * 160)):
            if isinstance(action, Hole):
                holes.append(action)
            else:
                out.extend(action.data)

    for number in range(1, 11):
        put(0, number)
        put(1, number)
    for number in range(11, 61):  # the second track stalls for 1 s ...
        put(0, number)
    for number in range(11, 61):  # ... and catches up: 0.5 s of it was not waited for
        put(1, number)
    put(0, 61)
    put(1, 61)
    for action in mixer.rest():
        assert isinstance(action, Audio)
        out.extend(action.data)
    assert [(h.channel, h.reason) for h in holes] == [(2, "late")]
    assert (holes[0].start, holes[0].end) == pytest.approx((0.2, 0.7))
    assert len(out) == 2 * 61 * 160
    numbered = [bytes([number]) * 160 for number in range(1, 62)]
    assert bytes(out[::2]) == b"".join(numbered)
    numbered[10:35] = [b"\xff" * 160] * 25
    assert bytes(out[1::2]) == b"".join(numbered)


ORDERS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 4000), st.integers(-50, 10**7), st.integers(0, 400)
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(ORDERS)
def test_any_frames_give_whole_samples_and_bounded_memory(frames: list[tuple[int, ...]]) -> None:
    mixer = Mixer(2, 8000, 1, 0xFF)
    given_seconds = 0.0
    got = 0
    for track, number, at, size in frames:
        try:
            actions = mixer.put(track, Frame(number, at, b"\1" * size))
        except RefusedError:
            continue
        given_seconds += 61
        for action in actions:
            if isinstance(action, Audio):
                assert len(action.data) % 2 == 0
                got += len(action.data) // 2
            else:
                assert action.end > action.start >= 0
    got += sum(len(a.data) // 2 for a in mixer.rest() if isinstance(a, Audio))
    assert got <= given_seconds * 8000
    assert mixer.rest() == []


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sets(st.integers(1, 99), max_size=6))
def test_frames_in_any_near_order_come_out_in_order(random: Any, lost: set[int]) -> None:
    mixer = Mixer(1, 8000, 1, 0xFF)
    numbers = [n for n in range(100) if n not in lost]
    numbers.sort(key=lambda n: n + random.uniform(0, 6))
    actions = []
    for n in numbers:
        actions += mixer.put(0, Frame(n + 1, 700 + n * 160, bytes([n]) * 160))
    actions += mixer.rest()
    out = b"".join(a.data for a in actions if isinstance(a, Audio))
    want = b"".join((b"\xff" if n in lost else bytes([n])) * 160 for n in range(100))
    assert out == want[: len(out)]
    assert len(out) == (max(n for n in range(100) if n not in lost) + 1) * 160
    told = sum(a.end - a.start for a in actions if isinstance(a, Hole))
    inner = [n for n in lost if n < max(set(range(100)) - lost)]
    assert told == pytest.approx(0.02 * len(inner))
