"""Label tracks and tables, read back by another parser or by a reading of their definition."""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import textgrids
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.results import NEGATIVE, POSITIVE, SPACES, channel, result, silent, window

from voicetone.cli import writers
from voicetone.cli.tracks import stretches
from voicetone.errors import MissingExtraError
from voicetone.types import ChannelResult, FileResult, Overall, Segment

SURE = 0.4
# NIST RT-09 evaluation plan, appendix A: nine or ten fields, white space between them.
RTTM = re.compile(
    r"SPEAKER (?P<file>\S+) (?P<channel>\d+) (?P<start>\d+\.\d+) (?P<seconds>\d+\.\d+) "
    r"<NA> <NA> (?P<name>\S+) (?P<score><NA>|[01]\.\d+) <NA>"
)


def test_stretches_are_speech_cut_where_the_tone_changes() -> None:
    found = [(s.start, s.end, s.sentiment, s.emotion) for s in stretches(channel(), 12.0, SURE)]
    assert found == [
        (1.0, 4.0, "negative", "anger"),
        (6.0, 7.5, "negative", "anger"),
        (7.5, 9.0, "positive", "happiness"),
        (10.5, 12.0, None, "happiness"),
    ]


@st.composite
def talks(draw: st.DrawFn) -> ChannelResult:
    """Any windows of a channel and any turns of speech in it."""
    count = draw(st.integers(1, 8))
    duration = 5.0 + 2.5 * (count - 1)
    kinds = draw(
        st.lists(st.sampled_from([NEGATIVE, POSITIVE, None]), min_size=count, max_size=count)
    )
    windows = tuple(window(5.0 + 2.5 * i, kind) for i, kind in enumerate(kinds))
    times = sorted(
        draw(st.lists(st.integers(0, int(duration * 1000)), max_size=8, unique=True)),
    )
    pairs = zip(times[::2], times[1::2], strict=False)
    turns = tuple(Segment(a / 1000, b / 1000) for a, b in pairs)
    return replace(channel(), windows=windows, speech=turns)


@given(talks())
@settings(max_examples=100, deadline=None)
def test_stretches_cover_the_speech_exactly_once(talk: ChannelResult) -> None:
    found = stretches(talk, talk.windows[-1].end, SURE)
    spoken = sum(turn.end - turn.start for turn in talk.speech)
    assert sum(s.end - s.start for s in found) == pytest.approx(spoken, abs=0.01)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(found))


def test_rttm_follows_its_definition() -> None:
    lines = writers.rttm(result("calls/my call.wav"), SURE).splitlines()
    found = [RTTM.fullmatch(line) for line in lines]
    assert all(found)
    first = found[0]
    assert first is not None
    assert first["file"] == "my_call"
    assert (first["channel"], first["start"], first["seconds"]) == ("2", "1.000", "3.000")
    assert (first["name"], first["score"]) == ("customer:negative", "0.8000")
    assert [m["name"] for m in found if m][-1] == "customer:unsure"


def test_rttm_of_silence_is_empty() -> None:
    assert writers.rttm(silent(), SURE) == ""


@given(talks(), st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_rttm_keeps_one_line_per_segment_whatever_the_name(talk: ChannelResult, name: str) -> None:
    talk = replace(talk, name=name)
    made = FileResult(f"{name}.wav", talk.windows[-1].end, "toy", (), (talk,))
    for line in writers.rttm(made, SURE).split("\n")[:-1]:
        assert RTTM.fullmatch(line), line


def read_textgrid(text: str, folder: Path) -> textgrids.TextGrid:
    path = folder / "x.TextGrid"
    path.write_text(text, encoding="utf-8")
    return textgrids.TextGrid(str(path))


def test_textgrid_is_read_by_another_parser(tmp_path: Path) -> None:
    grid = read_textgrid(writers.textgrid(result(), SURE), tmp_path)
    assert list(grid) == ["customer sentiment", "customer emotion"]
    assert (grid.xmin, grid.xmax) == (0.0, 12.0)
    found = [(i.xmin, i.xmax, i.text) for i in grid["customer sentiment"]]
    assert found == [
        (0.0, 1.0, ""),
        (1.0, 4.0, "negative"),
        (4.0, 6.0, ""),
        (6.0, 7.5, "negative"),
        (7.5, 9.0, "positive"),
        (9.0, 10.5, ""),
        (10.5, 12.0, "unsure"),
    ]


def test_textgrid_tiles_time_and_keeps_hostile_names_in_quotes(tmp_path: Path) -> None:
    hostile = replace(channel(), name='a "b"\nintervals: size 9')
    grid = read_textgrid(writers.textgrid(result("x.wav", hostile), SURE), tmp_path)
    assert len(grid) == 2
    for tier in grid.values():
        assert tier[0].xmin == 0.0
        assert tier[-1].xmax == 12.0
        assert all(a.xmax == b.xmin for a, b in pairwise(tier))


def test_textgrid_of_silence_is_one_empty_interval(tmp_path: Path) -> None:
    grid = read_textgrid(writers.textgrid(silent(), SURE), tmp_path)
    assert [(i.xmin, i.xmax, i.text) for i in grid["channel1 sentiment"]] == [(0.0, 12.0, "")]


def test_audacity_is_tab_separated_and_sorted() -> None:
    both = result("x.wav", replace(channel(1, "agent")), channel())
    rows = [line.split("\t") for line in writers.audacity(both, SURE).splitlines()]
    assert all(len(row) == 3 for row in rows)
    starts = [float(row[0]) for row in rows]
    assert starts == sorted(starts)
    assert rows[0] == ["1.000000", "4.000000", "agent: negative 0.80 (anger)"]


def csv_rows(results: list[FileResult]) -> list[dict[str, str]]:
    out = io.BytesIO()
    writers.write_csv(out, results, SPACES, SURE)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode())))


def test_csv_has_a_row_per_window_and_a_column_per_class() -> None:
    rows = csv_rows([result('odd, "name".wav'), silent()])
    assert len(rows) == 8
    assert list(rows[0]) == writers.columns(SPACES)
    assert rows[0]["file"] == 'odd, "name".wav'
    assert (rows[0]["speech"], rows[0]["speech_seconds"]) == ("true", "3.0")
    assert (rows[0]["sentiment"], rows[0]["sentiment_negative"]) == ("negative", "0.8")
    assert (rows[0]["emotion"], rows[0]["emotion_anger"]) == ("anger", "0.7")
    assert rows[3]["sentiment"] == ""  # not sure
    assert rows[3]["sentiment_neutral"] == "0.36"
    assert {rows[4][name] for name in rows[4] if name.startswith(("sent", "emo"))} == {""}


def test_parquet_holds_what_csv_holds() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    results = [result("bad\udcff name.wav"), silent()]
    writers.write_parquet(out, results, SPACES, SURE)
    table = parquet.read_table(io.BytesIO(out.getvalue()))
    assert table.column_names == writers.columns(SPACES)
    assert table.num_rows == 8
    scores = np.array(table["sentiment_negative"].to_pylist()[:4], dtype=float)
    np.testing.assert_allclose(scores, [0.8, 0.8, 0.1, 0.34], atol=1e-6)
    assert table["sentiment"].to_pylist()[3:5] == [None, None]


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"voicetone\[data\]") as caught:
        writers.require_parquet()
    assert caught.value.exit_code == 4


def test_a_channel_without_windows_gives_nothing() -> None:
    empty = replace(channel(), windows=(), speech=(), overall=Overall(0.0, None, None, None, None))
    assert writers.rttm(result("x.wav", empty), SURE) == ""
