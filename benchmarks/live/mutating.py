"""Changes to messages that are right: of bytes, of the structure of JSON, of the order."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

Messages = list[str | bytes]
"""What goes into a parser, in order."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 8000, 2**31, 2**53, 2**63, 10**30, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), [], {}, [[]], [{}], [None], {"": None}, "", " ", "0", "-1", "1"),
    *("1e9", "9" * 18, "9" * 400, "١٢", "true", "PT1S", "PT0S", "PT999999999S", "PT1.5.5S"),
    *("\0", "\n", "\ud800", "é" * 300, "x" * 257, "x" * 5000, "../../etc/passwd", "%s%n", "NaN"),
    *("00000000-0000-0000-0000-000000000000", "inbound", "external", "PCMU", "start", "open"),
)
"""Values that parsers stumble over, among those that they know."""
WORDS = (
    b"\0", b"\xff", b"\r\n", b"\r\n\r\n", b'"', b"{", b"}", b"[", b"]", b"=", b":", b";", b",",
    b"-1", b"99999999999999999999", b"nan", b"inf", b"null", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80",
    b"%", b"%00", b"..", b"/", b"\\", b"'", b"#", b"[[", b"]]", b"\x7f\xff\xff\xff", b"\x80\0\0\0",
    b"\xff\xff\xff\xff", b"RIFF", b"fLaC", b"data", b"fmt ",
)  # fmt: skip
DEEP = 400
"""Levels of what is nested for its own sake."""


def mutated(messages: Sequence[str | bytes], rng: random.Random) -> Messages:
    """A few changes; one case in twelve is left as it is, so that what is right stays right."""
    out = list(messages)
    if rng.random() < 1 / 12:
        return out
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not out:
            break
        at = rng.randrange(len(out))
        if len(out) > 1 and rng.random() < 0.25:
            _reordered(out, at, rng)
        elif isinstance(one := out[at], str):
            out[at] = changed_text(one, rng)
        else:
            out[at] = changed_bytes(one, rng)
    return out


def _reordered(out: Messages, at: int, rng: random.Random) -> None:
    """A message is lost, comes twice, or at another time."""
    match rng.randrange(4):
        case 0:
            del out[at]
        case 1:
            out.insert(at, out[at])
        case 2:
            out.insert(rng.randrange(len(out)), out.pop(at))
        case _:
            other = rng.randrange(len(out))
            out[at], out[other] = out[other], out[at]


def changed_text(text: str, rng: random.Random) -> str:
    """JSON in its structure, mostly; other text in its characters."""
    if text[:1] in ("{", "[") and rng.random() < 0.7:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            changed = _changed_value(found, rng)
            return json.dumps(changed, ensure_ascii=rng.random() < 0.7)
    if "\n" in text and rng.random() < 0.5:
        return _changed_lines(text, rng)
    data = changed_bytes(text.encode("utf-8", "surrogatepass"), rng)
    return data.decode("utf-8", "replace")


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """One change of bytes."""
    at = rng.randint(0, len(data))
    some = rng.randint(1, 8)
    match rng.randrange(8):
        case 0 | 1 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        case 2 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]
        case 3:
            return data[:at] + data[at + some :]
        case 4:
            return data[:at] + rng.choice(WORDS) + data[at:]
        case 5:
            return data[:at] + data[at : at + 16 * some] * 2 + data[at + 16 * some :]
        case 6:
            return data[:at]
        case _:
            return data[:at] + rng.randbytes(some) + data[at + some :]


def _changed_lines(text: str, rng: random.Random) -> str:
    """A line is lost, comes twice, elsewhere, or with another value."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        case _:
            key, equals, _ = lines[at].partition("=")
            if equals:
                odd = rng.choice(ODD)
                value = json.dumps(odd) if not isinstance(odd, dict) else "{}"
                lines[at] = f"{key}= {value}"
    return "\n".join(lines)


def _changed_value(found: Any, rng: random.Random) -> Any:
    """The same value with a change somewhere in it, the deeper the likelier."""
    if isinstance(found, dict) and found and rng.random() < 0.85:
        key = rng.choice(list(found))
        out = dict(found)
        match rng.randrange(8):
            case 0:
                del out[key]
            case 1:
                out[str(rng.choice(ODD))] = out.pop(key)
            case 2:
                out[str(rng.choice(ODD))] = rng.choice(ODD)
            case _:
                out[key] = _changed_value(out[key], rng)
        return out
    if isinstance(found, list) and found and rng.random() < 0.8:
        at = rng.randrange(len(found))
        items = list(found)
        match rng.randrange(5):
            case 0:
                del items[at]
            case 1:
                items *= rng.choice((2, 2, 40))
            case _:
                items[at] = _changed_value(items[at], rng)
        return items
    return _another(found, rng)


def _another(found: Any, rng: random.Random) -> Any:
    """Something else in a value's place."""
    match rng.randrange(12):
        case 0:
            return [found]
        case 1:
            return {"type": found}
        case 2 if isinstance(found, int | float) and not isinstance(found, bool):
            return rng.choice((found + 1, found - 1, -found, str(found), found * 1e6))
        case 3 if isinstance(found, str):
            return changed_bytes(found.encode("utf-8", "surrogatepass"), rng).decode(
                "utf-8", "surrogateescape"
            )
        case 4:
            deep: Any = found
            for _ in range(rng.choice((3, DEEP))):
                deep = [deep]
            return deep
        case _:
            return rng.choice(ODD)
