"""Settings: the file, the environment, the words; and what is wrong with them, in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicetone.errors import DataError, UsageError
from voicetone.server.settings import Settings, override, read_settings

FILE = """
port = 9000
workers = 2
origins = ["https://desk.example"]

[limits]
channels = 40

[[keys]]
name = "pbx"
hash = "{hash}"
scopes = ["telephony"]
consent = true

[[alerts.rules]]
name = "angry"
kind = "negative"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(FILE.format(hash="ab" * 32))
    return path


def test_the_defaults_are_for_this_machine_alone() -> None:
    settings = Settings()
    assert settings.loopback
    assert settings.keys == ()
    assert not settings.limits.staff_reason
    assert not Settings(host="0.0.0.0").loopback
    assert Settings(host="::1").loopback
    assert not Settings(host="desk.example").loopback


def test_words_are_stronger_than_the_environment_than_the_file(file: Path) -> None:
    environment = {
        "VOICETONE_SERVER__LIMITS__CHANNELS": "50",
        "VOICETONE_SERVER__WORKERS": "3",
        "VOICETONE_DATA": "/nowhere",
    }
    read = read_settings(file, ["limits.channels=60", "notice=You are heard."], environment)
    assert (read.port, read.workers, read.limits.channels) == (9000, 3, 60)
    assert read.notice == "You are heard."
    assert [key.name for key in read.keys] == ["pbx"]
    assert read.keys[0].consent
    assert len(read.alerts.rules) == 1
    assert override(read, port=1, workers=None).port == 1


def test_keys_in_a_file_of_their_own(file: Path) -> None:
    (file.parent / "keys.toml").write_text(
        f'[[keys]]\nname = "desk"\nhash = "{"cd" * 32}"\nscopes = ["read"]\n'
    )
    file.write_text('keys_file = "keys.toml"\n' + file.read_text())
    assert [key.name for key in read_settings(file).keys] == ["pbx", "desk"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[keys]]\nname = "desk"\nscopes = ["all"]\n', "keys.0.scopes.0"),
        ("keys = 1\n", "keys: "),
        ("port = 1\n", "holds more than"),
    ],
)
def test_a_file_of_keys_is_blamed_for_its_own_faults(file: Path, text: str, said: str) -> None:
    keys = file.parent / "keys.toml"
    keys.write_text(text)
    file.write_text('keys_file = "keys.toml"\n' + file.read_text())
    for words in ([], ["port=1"]):
        with pytest.raises(DataError) as error:
            read_settings(file, words)
        assert str(error.value).startswith(f"{keys}: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 70000", "port: Input should be less than or equal to 65535"),
        ("prot = 1", "prot: no such key"),
        ("[limits]\nchanels = 1", "limits.chanels: no such key"),
        ("port = ", "not a TOML file"),
        ("keys_file = 'none.toml'", "none.toml: can't be read"),
        ("[[keys]]\nname = 'a'\nscopes = ['read']", "a key needs hash, secret_env or secret_file"),
        ("[[keys]]\nname = 'a b'\nscopes = ['read']\nhash = 'x'", "keys.0.name"),
        ("[[keys]]\nname = 'a'\nscopes = ['all']\nhash = 'x'", "keys.0.scopes.0"),
        ("[tls]\ncertificate = 'a.pem'", "tls: certificate and key go together"),
        ("x = " + "[" * 5000, "not a TOML file"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_settings(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value) or "none.toml" in str(error.value)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["port"], {}, "'port' is no setting: write key=value"),
        (["port=x"], {}, "port=x: port"),
        (["limits=1"], {}, "limits=1: limits"),
        (["port.x=1"], {}, "port.x=1: port is no table of settings"),
        ([], {"VOICETONE_SERVER__PROT": "1"}, "VOICETONE_SERVER__PROT: prot: no such key"),
    ],
)
def test_a_wrong_word_is_blamed_not_the_file(
    file: Path, words: list[str], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as error:
        read_settings(file, words, environment)
    assert said in str(error.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_settings(tmp_path / "none.toml")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (1 << 21))
    with pytest.raises(DataError, match="more than 1 MiB"):
        read_settings(large)
    with pytest.raises(UsageError, match="--workers"):
        override(Settings(), workers=0)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.lists(st.text(max_size=30), max_size=3))
def test_nothing_but_one_line_from_any_words(text: str, words: list[str]) -> None:
    with contextlib.suppress(DataError, UsageError):
        read_settings(None, words, {"VOICETONE_SERVER__LIMITS__X": text})
