"""Where a sound file's own header says its audio ends, to tell a truncated copy from a whole one.

libsndfile reads what is there and says nothing when there is less than the header promised. These
few parsers read headers only; whatever they don't understand, they leave to libsndfile.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

SLOPPY_BYTES = 64  # some writers count the header in
MAX_CHUNKS = 1_000  # chunks looked at before the audio; real files have a dozen
TAIL_BYTES = 128 * 1024  # holds the last Ogg page, which is under 64 KiB, and some junk
MP3_HEAD_BYTES = 256  # holds an MP3's first frame header, side information and Xing header

_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a file's audio reaches by the file's own account.

    Attributes:
        end: byte offset of its end; None where the file doesn't say (a recorder that wrote to a
            pipe couldn't know), or in a container not known here.
        truncated: what is missing, in words; None in a whole file.
    """

    end: int | None
    truncated: str | None = None


def extent(file: BinaryIO, size: int) -> Extent:
    """The extent of the audio in a file of `size` bytes, which is left at any position."""
    file.seek(0)
    head = file.read(12)
    form, kind = head[:4], head[8:]
    if form == b"OggS":
        return _ogg_extent(file, size)
    if form in (b"RIFF", b"RF64", b"BW64") and kind == b"WAVE":
        end = _riff_end(file, "<")
    elif form == b"RIFX" and kind == b"WAVE":
        end = _riff_end(file, ">")
    elif form == b"FORM" and kind in (b"AIFF", b"AIFC"):
        end = _chunk_end(file, b"SSND", ">")
    elif form == b"riff":
        end = _w64_end(file, size)
    elif form == b".snd":
        end = _au_end(head)
    elif form == b"caff":
        end = _caf_end(file, size)
    elif head[:7] == b"NIST_1A":
        end = _nist_end(file)
    elif head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        end = _mp3_end(file)
    else:
        end = None
    if end is not None and end > size + SLOPPY_BYTES:
        return Extent(end, f"{size} of {end} bytes are there")
    return Extent(end)


def _chunk_end(file: BinaryIO, wanted: bytes, order: str) -> int | None:
    """The end of one IFF chunk; the file is positioned at the first."""
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return None
        length: int = struct.unpack(order + "I", header[4:])[0]
        if header[:4] == wanted:
            return None if _unknown(length) else file.tell() + length
        file.seek(length + length % 2, 1)
    return None


def _unknown(length: int) -> bool:
    """Lengths that recorders write when they can't seek back: ffmpeg, sox, arecord and kin."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or length >= 0xFFFFF000


def _riff_end(file: BinaryIO, order: str) -> int | None:
    long_length = None
    if (header := file.read(24))[:4] == b"ds64" and len(header) == 24:
        long_length = struct.unpack("<Q", header[16:24])[0]
    file.seek(12)
    end = _chunk_end(file, b"data", order)
    if end is None and long_length and long_length < 2**62 and file.tell() > 12:
        return int(file.tell() + long_length)
    return end


def _w64_end(file: BinaryIO, size: int) -> int | None:
    file.seek(40)
    for _ in range(MAX_CHUNKS):
        header = file.read(24)
        if len(header) < 24:
            return None
        length: int = struct.unpack("<Q", header[16:])[0]
        if not 24 <= length < 2**62:
            return None
        if header[:16] == _W64_DATA:
            return file.tell() - 24 + length
        if length > size:
            return None
        file.seek(-24 + length + -length % 8, 1)
    return None


def _caf_end(file: BinaryIO, size: int) -> int | None:
    file.seek(8)
    for _ in range(MAX_CHUNKS):
        header = file.read(12)
        if len(header) < 12:
            return None
        length: int = struct.unpack(">q", header[4:])[0]
        if not 0 <= length < 2**62:  # -1: of the audio, when a recorder couldn't know
            return None
        if header[:4] == b"data":
            return file.tell() + length
        if length > size:
            return None
        file.seek(length, 1)
    return None


def _au_end(head: bytes) -> int | None:
    if len(head) < 12:
        return None
    start, length = struct.unpack(">II", head[4:12])
    return None if _unknown(length) else int(start + length)


def _nist_end(file: BinaryIO) -> int | None:
    file.seek(0)
    text = file.read(1024).decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -i (\d+)", text, re.MULTILINE))
    start = text.partition("\n")[2].partition("\n")[0].strip()
    if not start.isdigit() or "," in text:  # a comma: shortened audio, its bytes unknown
        return None
    try:
        frame = int(fields.get("channel_count", 1)) * int(fields["sample_n_bytes"])
        return int(start) + int(fields["sample_count"]) * frame
    except KeyError:
        return None


def _ogg_extent(file: BinaryIO, size: int) -> Extent:
    """Ogg tells no length: its last page must be whole and, unless it is marked as the last one,
    at the end of the file. (Recorders that are stopped leave the mark out.)"""
    offset = max(0, size - TAIL_BYTES)
    file.seek(offset)
    tail = file.read(TAIL_BYTES)
    at = tail.rfind(b"OggS\0")
    if at < 0:
        return Extent(None, f"no audio in its last {TAIL_BYTES // 1024} KiB")
    page = tail[at:]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    end = offset + at + 27 + len(lengths) + sum(lengths)
    if len(page) < 27 or len(lengths) < page[26] or end > size:
        return Extent(None, "it ends inside a page")
    if end < size and not page[5] & 4:
        return Extent(None, "what follows its last page is no audio")
    return Extent(end)


def _mp3_end(file: BinaryIO) -> int | None:
    """The end by the Xing header that encoders put in the first frame; streams have none."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        for byte in head[6:]:  # seven bits in each
            start = start << 7 | byte & 0x7F
        start += 10
    file.seek(start)
    frame = file.read(MP3_HEAD_BYTES)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        return None
    flags: int = struct.unpack(">I", frame[at + 4 : at + 8])[0]
    if not flags & 2:  # no byte count
        return None
    length: int = struct.unpack(">I", frame[at + 8 + 4 * (flags & 1) :][:4])[0]
    return start + length if length else None
