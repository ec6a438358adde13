"""Extraction: cached by content, resumable, and one broken file costs one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.sounds import RATE, record, tone
from voicetone.features import extract as module
from voicetone.features import sets
from voicetone.features.cache import FeatureCache, content_key
from voicetone.features.extract import extract, samples_of
from voicetone.features.sets import FeatureConfig, extractor, say_licence
from voicetone.types import Utterance

LOGMEL = FeatureConfig("logmel")


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    return [record(tmp_path / "audio", f"{h}", tone(h, 0.5)) for h in (200, 400, 800)]


def test_the_second_time_is_free(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(utterances, LOGMEL, cache=tmp_path / "cache", jobs=1)
    assert list(first.values) == ["200", "400", "800"]
    assert (first.computed, dict(first.failures)) == (3, {})
    monkeypatch.setattr(module, "samples_of", lambda _: pytest.fail("computed again"))
    again = extract(utterances, LOGMEL, cache=tmp_path / "cache", jobs=1)
    assert again.computed == 0
    for key, values in first.values.items():
        assert np.array_equal(values, again.values[key])


def test_content_counts_and_not_name_or_date(utterances: list[Utterance], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    extract(utterances, LOGMEL, cache=cache, jobs=1)
    moved = tmp_path / "elsewhere.wav"
    shutil.copy(utterances[0].audio, moved)
    found = extract([replace(utterances[0], audio=moved)], LOGMEL, cache=cache, jobs=1)
    assert found.computed == 0
    date = utterances[1].audio.stat()
    soundfile.write(utterances[1].audio, tone(3000, 0.5), RATE, subtype="FLOAT")
    os.utime(utterances[1].audio, ns=(date.st_atime_ns, date.st_mtime_ns))
    found = extract([utterances[1]], LOGMEL, cache=cache, jobs=1)
    assert found.computed == 1
    assert found.values["400"].mean(axis=0).argmax() > 30


def test_other_settings_are_other_features(utterances: list[Utterance], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    extract(utterances, LOGMEL, cache=cache, jobs=1)
    short = extract(utterances, FeatureConfig("logmel", cut_seconds=0.25), cache=cache, jobs=1)
    assert short.computed == 3
    assert len(short.values["200"]) < 30


def test_one_broken_file_costs_one_line(
    utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    utterances[1].audio.write_bytes(b"RIFF nothing more")
    gone = replace(utterances[0], id="gone", audio=tmp_path / "gone.wav")
    short = record(tmp_path / "audio", "short", tone(200, 0.01))
    found = extract([*utterances, gone, short], LOGMEL, cache=tmp_path / "cache", jobs=1)
    assert list(found.values) == ["200", "800"]
    assert set(found.failures) == {"400", "gone", "short"}
    assert "gone.wav: can't be opened" in found.failures["gone"]
    assert "400.wav" in found.failures["400"]
    assert "short.wav: 0.010 s is too short" in found.failures["short"]
    assert all("\n" not in line for line in found.failures.values())


def test_processes_give_the_same(utterances: list[Utterance], tmp_path: Path) -> None:
    utterances[1].audio.write_bytes(b"RIFF nothing more")
    many = [replace(u, id=f"{u.id}-{i}", start=i / 100) for i in range(6) for u in utterances]
    one = extract(many, LOGMEL, cache=tmp_path / "one", jobs=1)
    two = extract(many, LOGMEL, cache=tmp_path / "two", jobs=2)
    assert dict(one.failures) == dict(two.failures)
    assert list(one.values) == list(two.values)
    assert len(one.values) == 12
    for key, values in one.values.items():
        assert np.array_equal(values, two.values[key])


def _kill(samples: np.ndarray) -> np.ndarray:
    if len(samples) == 4000:
        os._exit(9)
    return np.zeros(3, dtype=np.float32)


def test_a_file_that_kills_its_process_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [record(tmp_path, str(i), tone(200 + i, 0.5)) for i in range(17)]
    files.insert(9, record(tmp_path, "deadly", tone(200, 0.25)))
    # The processes are new ones, so what they do is changed by where they start.
    monkeypatch.setattr(module, "_start", _start_deadly)
    found = extract(files, LOGMEL, cache=tmp_path / "cache", jobs=2)
    assert set(found.failures) == {"deadly"}
    assert "deadly.wav: the process that heard it died" in found.failures["deadly"]
    assert len(found.values) == 17


def _start_deadly(config: FeatureConfig, store: FeatureCache) -> None:
    real = extractor(config)
    names, _ = sets._computer(config)
    sets._computer = lambda _: (names, _kill)  # type: ignore[assignment]
    module._worker.update(compute=real, store=store)


def test_interrupted_work_is_kept(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(utterances, LOGMEL, cache=tmp_path / "cache", jobs=1, progress=stop)
    found = extract(utterances, LOGMEL, cache=tmp_path / "cache", jobs=1)
    assert found.computed == 1


def test_damage_in_the_cache_is_computed_again(utterances: list[Utterance], tmp_path: Path) -> None:
    whole = extract(utterances, LOGMEL, cache=tmp_path / "cache", jobs=1)
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:200])
    again = extract(utterances, LOGMEL, cache=tmp_path / "cache", jobs=1)
    assert again.computed == 3
    for key, values in whole.values.items():
        assert np.array_equal(values, again.values[key])


def test_channel_part_and_rate(tmp_path: Path) -> None:
    stereo = np.stack([tone(200, 2.0, 8000), tone(900, 2.0, 8000)], axis=1)
    u = replace(record(tmp_path, "stereo", stereo, 8000), channel=2, start=0.5, end=1.5)
    samples = samples_of(u)
    assert samples.shape == (16_000,)
    assert np.abs(np.fft.rfft(samples)).argmax() == 900
    with pytest.raises(Exception, match="there is no channel 3"):
        samples_of(replace(u, channel=3))
    with pytest.raises(Exception, match="nothing between the start and end"):
        samples_of(replace(u, start=5.0, end=6.0))


def test_same_recording_twice_has_one_hash(utterances: list[Utterance], tmp_path: Path) -> None:
    copy = tmp_path / "copy.wav"
    shutil.copy(utterances[0].audio, copy)
    twins = [utterances[0], replace(utterances[0], id="copy", audio=copy)]
    contents = extract([*twins, utterances[1]], LOGMEL, cache=tmp_path / "c", jobs=1).contents
    assert contents["200"] == contents["copy"] != contents["400"]


def test_the_licence_is_said_once(
    utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("opensmile")
    say_licence.cache_clear()
    config = FeatureConfig("eGeMAPSv02")
    for _ in range(2):
        extract(utterances, config, cache=tmp_path / "cache", jobs=1)
    extract(utterances, replace(config, cut_seconds=0.3), cache=tmp_path / "cache", jobs=1)
    assert capsys.readouterr().err.count("not for commercial products") == 1


def test_features_of_channels_counted_from_0_are_not_found_again() -> None:
    key = content_key(Utterance("a", Path("a.wav"), "c", channel=1), "hash")
    old = hashlib.sha256(json.dumps(["hash", 0.0, None, 1]).encode()).hexdigest()
    assert key != old
    whole = content_key(Utterance("a", Path("a.wav"), "c"), "hash")
    assert whole == hashlib.sha256(json.dumps(["hash", 0.0, None, None]).encode()).hexdigest()
