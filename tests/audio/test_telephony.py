"""G.711 against its tables, libsndfile and, where Python still has it, audioop."""

from __future__ import annotations

import io
import warnings
from types import ModuleType

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voicetone.audio import telephony as tel
from voicetone.errors import AudioError

CODES = np.arange(256, dtype=np.uint8)
ALL_16_BIT = np.arange(-32768, 32768, dtype=np.int16)


@pytest.fixture(scope="module")
def audioop() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pytest.importorskip("audioop", reason="this Python has no audioop any more")


def test_every_mulaw_code_comes_back() -> None:
    values = tel.mulaw_decode(CODES)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(tel.mulaw_encode(values), CODES)


def test_every_alaw_code_comes_back() -> None:
    values = tel.alaw_decode(CODES)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(tel.alaw_encode(values), CODES)


@pytest.mark.parametrize(
    ("code", "value"),
    # ITU-T G.711 table 2a/2b, column "quantised value", of 8159: the largest, the smallest, and
    # the ends of some segments
    {
        0x80: 8031,
        0x8F: 4191,
        0x90: 3999,
        0x9F: 2079,
        0xEF: 33,
        0xF0: 30,
        0xFE: 2,
        0xFF: 0,
        0x00: -8031,
        0x6F: -33,
        0x7E: -2,
        0x7F: 0,
    }.items(),
)
def test_mulaw_table(code: int, value: int) -> None:
    assert tel.mulaw_decode(bytes([code]))[0] * 8192 == value


@pytest.mark.parametrize(
    ("code", "value"),
    # ITU-T G.711 table 1a/1b of 4096, even bits inverted as sent
    {
        0xAA: 4032,
        0xA5: 2112,
        0xBA: 2016,
        0xD5: 1,
        0xD4: 3,
        0xC5: 33,
        0xDA: 31,
        0x2A: -4032,
        0x55: -1,
        0x54: -3,
    }.items(),
)
def test_alaw_table(code: int, value: int) -> None:
    assert tel.alaw_decode(bytes([code]))[0] * 4096 == value


@pytest.mark.parametrize(
    ("subtype", "decode"), [("ULAW", tel.mulaw_decode), ("ALAW", tel.alaw_decode)]
)
def test_libsndfile_decodes_the_same(subtype: str, decode: object) -> None:
    got, _ = soundfile.read(
        io.BytesIO(CODES.tobytes()),
        samplerate=8_000,
        channels=1,
        format="RAW",
        subtype=subtype,
        dtype="float32",
    )
    np.testing.assert_array_equal(got, decode(CODES))  # type: ignore[operator]


def test_libsndfile_encodes_the_same_mulaw() -> None:
    out = io.BytesIO()
    soundfile.write(out, ALL_16_BIT, 8_000, format="RAW", subtype="ULAW")
    codes = np.frombuffer(out.getvalue(), np.uint8)
    np.testing.assert_array_equal(tel.mulaw_encode(ALL_16_BIT / 32768), codes)


def test_audioop_decodes_the_same(audioop: ModuleType) -> None:
    for theirs, ours in (
        (audioop.ulaw2lin, tel.mulaw_decode),
        (audioop.alaw2lin, tel.alaw_decode),
    ):
        values = np.frombuffer(theirs(CODES.tobytes(), 2), np.int16)
        np.testing.assert_array_equal(ours(CODES) * 32768, values)


def test_audioop_encodes_the_same_alaw(audioop: ModuleType) -> None:
    codes = np.frombuffer(audioop.lin2alaw(ALL_16_BIT.tobytes(), 2), np.uint8)
    np.testing.assert_array_equal(tel.alaw_encode(ALL_16_BIT / 32768), codes)


def test_audioop_encodes_the_same_mulaw(audioop: ModuleType) -> None:
    """On all 14-bit values, which is what the code is made for; finer ones audioop rounds down."""
    values = ALL_16_BIT[::4]
    codes = np.frombuffer(audioop.lin2ulaw(values.tobytes(), 2), np.uint8)
    np.testing.assert_array_equal(tel.mulaw_encode(values / 32768), codes)


@pytest.mark.parametrize(
    ("encode", "decode"),
    [(tel.mulaw_encode, tel.mulaw_decode), (tel.alaw_encode, tel.alaw_decode)],
)
@given(x=st.floats(-4, 4))
def test_errors_are_of_the_codes_size(encode: object, decode: object, x: float) -> None:
    y = float(decode(encode(np.array([x])))[0])  # type: ignore[operator]
    inside = min(max(x, -1.0), 1.0)
    # Half an interval: a 32nd of the value, counted from the start of the μ-law segments.
    assert abs(y - inside) <= max((abs(inside) + 33 / 8192) / 32, 1 / 4096) + 1e-9
    assert y * x >= 0 or abs(y) <= 1 / 4096


def test_shapes_and_kinds_of_input() -> None:
    codes = CODES.reshape(2, 128)
    assert tel.mulaw_decode(codes).shape == (2, 128)
    assert tel.alaw_encode(np.zeros((2, 3), np.float32)).shape == (2, 3)
    for data in (b"\xff\x00", bytearray(b"\xff\x00"), memoryview(b"\xff\x00")):
        assert tel.mulaw_decode(data).shape == (2,)
    assert tel.mulaw_decode(b"").shape == (0,)
    with pytest.raises(AudioError, match="int16"):
        tel.mulaw_decode(np.zeros(3, np.int16))  # type: ignore[arg-type]


def test_a_decoded_block_may_be_written_to() -> None:
    tel.mulaw_decode(CODES)[:] = 0
    assert tel.mulaw_decode(CODES).any()


def test_16_bit_samples_come_back() -> None:
    data = ALL_16_BIT.astype("<i2").tobytes()
    assert tel.s16le_encode(tel.s16le_decode(data)) == data
    assert tel.s16le_decode(b"\x00\x80\xff\x7f").tolist() == [-1.0, 32767 / 32768]
    assert tel.s16le_encode(np.array([2.0, -2.0], np.float32)) == b"\xff\x7f\x00\x80"
    with pytest.raises(AudioError, match="odd number"):
        tel.s16le_decode(b"abc")


@pytest.mark.parametrize("encode", [tel.mulaw_encode, tel.alaw_encode, tel.s16le_encode])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers(encode: object, bad: float) -> None:
    with pytest.raises(AudioError, match="NaN or infinite"):
        encode(np.array([0.0, bad]))  # type: ignore[operator]
