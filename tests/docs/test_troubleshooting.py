"""The troubleshooting page holds every message that the code can give, and every exit code.

Messages are read from the source: the text in each `raise SomeError(...)` of voicetone's own, what
is filled in at run time being a gap. The longest piece between gaps must stand on the page.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import voicetone.errors
from voicetone.errors import VoicetoneError

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "voicetone"
PAGE = ROOT / "docs" / "troubleshooting.md"
LEAVES = {
    name
    for name, kind in inspect.getmembers(voicetone.errors, inspect.isclass)
    if issubclass(kind, VoicetoneError)
} | {"OutputError"}
SHORTEST = 12  # characters; a shorter piece says nothing
GAP = "\0"


def text_of(node: ast.expr) -> str:
    """A message with gaps where something is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return GAP


def longest_piece(text: str) -> str:
    pieces = [" ".join(piece.split()) for piece in text.split(GAP)]
    return max(pieces, key=len).strip(" :;,.()'[]")


def messages() -> dict[str, str]:
    """Where → the longest fixed piece of each message in the source."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            piece = longest_piece(text_of(node.args[0]))
            if node.func.id in LEAVES and len(piece) >= SHORTEST:
                found[f"{path.relative_to(SRC)}:{node.lineno}"] = piece
    return found


def plain(text: str) -> str:
    return " ".join(re.sub(r"[`|\\]", "", text).split())


def test_the_source_has_messages() -> None:
    assert len(messages()) > 30


def test_each_message_stands_on_the_page() -> None:
    page = plain(PAGE.read_text("utf-8"))
    missing = {where: piece for where, piece in messages().items() if plain(piece) not in page}
    assert missing == {}


def test_exit_codes_stand_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    codes = {getattr(voicetone.errors, name).exit_code for name in LEAVES - {"OutputError"}}
    for code in codes | {0}:
        assert re.search(rf"^\| {code} \|", page, re.MULTILINE), f"exit code {code}"


def test_pieces_are_found() -> None:
    call = ast.parse('AudioError(f"{name}: truncated, {n} bytes are there: copy it again")').body[0]
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    assert longest_piece(text_of(call.value.args[0])) == "bytes are there: copy it again"
