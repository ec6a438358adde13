"""Telephone and network sample codings: G.711 μ-law and A-law, and 16-bit little-endian PCM.

Source: ITU-T G.711 (11/88), tables 1 and 2. Full scale is ±1: a μ-law code stands for one of the
14-bit values ±8031 / 8192, an A-law code for one of the 13-bit values ±4032 / 4096.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import AudioError
from voicetone.types import Floats

Bytes = NDArray[np.uint8]
Coded = bytes | bytearray | memoryview | Bytes

_BIAS = 33  # of the μ-law segments, in 14-bit steps


def mulaw_decode(codes: Coded) -> Floats:
    """μ-law codes → float32 samples of the same shape. Code 0x7F, negative zero, gives -0.0."""
    return _MULAW_VALUES[_codes(codes)]


def alaw_decode(codes: Coded) -> Floats:
    """A-law codes → float32 samples of the same shape."""
    return _ALAW_VALUES[_codes(codes)]


def mulaw_encode(samples: Floats) -> Bytes:
    """Float samples → μ-law codes of the same shape; beyond ±1 they are clipped.

    Raises:
        AudioError: a sample is NaN or infinite.
    """
    x = _samples(samples)
    steps = np.minimum(np.floor(np.abs(x) * 8192), 8191).astype(np.int32)
    codes: Bytes = _MULAW_CODES[steps] & np.where(np.signbit(x), np.uint8(0x7F), np.uint8(0xFF))
    return codes


def alaw_encode(samples: Floats) -> Bytes:
    """Float samples → A-law codes of the same shape; beyond ±1 they are clipped.

    A negative value on the edge of two intervals takes the one nearer to zero.

    Raises:
        AudioError: a sample is NaN or infinite.
    """
    x = _samples(samples)
    steps = np.where(x < 0, np.ceil(-x * 4096) - 1, np.floor(x * 4096))
    codes: Bytes = _ALAW_CODES[np.minimum(steps, 4095).astype(np.int32)]
    codes &= np.where(x < 0, np.uint8(0x7F), np.uint8(0xFF))
    return codes


def s16le_decode(data: Coded) -> Floats:
    """Bytes of 16-bit little-endian PCM → float32 `[n]`.

    Raises:
        AudioError: an odd number of bytes.
    """
    if len(data) % 2:
        raise AudioError("16-bit audio of an odd number of bytes: send whole samples")
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32)
    samples /= 32768
    return samples


def s16le_encode(samples: Floats) -> bytes:
    """Float samples → bytes of 16-bit little-endian PCM; beyond ±1 they are clipped.

    Raises:
        AudioError: a sample is NaN or infinite.
    """
    scaled = np.clip(np.rint(_samples(samples) * 32768), -32768, 32767)
    return scaled.astype("<i2").tobytes()


def _codes(codes: Coded) -> Bytes:
    if isinstance(codes, np.ndarray):
        if codes.dtype != np.uint8:
            raise AudioError(f"codes are bytes (uint8), not {codes.dtype}")
        return codes
    return np.frombuffer(codes, dtype=np.uint8)


def _samples(samples: Floats) -> NDArray[np.float64]:
    x = np.asarray(samples, dtype=np.float64)
    if not np.isfinite(x).all():
        raise AudioError("the audio holds NaN or infinite samples: repair or re-export it")
    return x


def _mulaw_values() -> Floats:
    code = 255 - np.arange(256)  # transmitted inverted
    segment, step = code >> 4 & 7, code & 15
    size = ((2 * step + _BIAS) << segment) - _BIAS
    values: Floats = (np.where(code & 0x80, -1.0, 1.0) * size / 8192).astype(np.float32)
    return values


def _alaw_values() -> Floats:
    code = np.arange(256) ^ 0x55  # transmitted with its even bits inverted
    segment, step = code >> 4 & 7, code & 15
    size = np.where(segment == 0, 2 * step + 1, (2 * step + _BIAS) << np.maximum(segment - 1, 0))
    values: Floats = (np.where(code & 0x80, 1.0, -1.0) * size / 4096).astype(np.float32)
    return values


def _mulaw_codes() -> Bytes:
    """Codes of the positive 14-bit values 0 … 8191."""
    size = np.minimum(np.arange(8192), 8158) + _BIAS
    segment = np.floor(np.log2(size)).astype(np.int64) - 5
    codes: Bytes = (255 - (segment << 4 | size >> segment + 1 & 15)).astype(np.uint8)
    return codes


def _alaw_codes() -> Bytes:
    """Codes of the positive 13-bit values 0 … 4095."""
    size = np.arange(4096)
    segment = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int64) - 4, 0)
    step = size >> np.maximum(segment, 1) & 15
    codes: Bytes = ((segment << 4 | step | 0x80) ^ 0x55).astype(np.uint8)
    return codes


_MULAW_VALUES = _mulaw_values()
_ALAW_VALUES = _alaw_values()
_MULAW_CODES = _mulaw_codes()
_ALAW_CODES = _alaw_codes()
