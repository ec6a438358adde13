"""What the HTML pages share: they open from disk without a network and load nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voicetone.evaluation.call_audio import Player

TEMPLATES = Path(__file__).with_name("templates")


def fill(
    template: str,
    style: str,
    *,
    script: str = "",
    players: Sequence[Player | None] = (),
    pictures: bool = False,
    filters: Mapping[str, Callable[..., Any]],
    **values: Any,
) -> str:
    """A page as text that can be written in UTF-8.

    Args:
        template: its file's name.
        style: file name of the style sheet that goes into the page.
        script: the same of the script; none if empty.
        players: the recordings that it plays.
        pictures: whether it shows image files that lie beside it.
        filters: of the template, beside `visible`.
        values: what the template shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": _visible, **filters}
    css = _source(style)
    js = _source(script) if script else ""
    page = environment.get_template(template).render(
        policy=_policy(css, js, players, pictures), style=css, script=js, players=players, **values
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _visible(text: object) -> str:
    """Text without what would break a line or turn the reading direction."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+", "\ufffd", str(text))


def _policy(style: str, script: str, players: Sequence[Player | None], pictures: bool) -> str:
    """The content-security policy: this style, script, recordings and pictures, and no more."""
    parts = ["default-src 'none'", f"style-src {_digest(style)}"]
    if script:
        parts.append(f"script-src {_digest(script)}")
    parts += ["base-uri 'none'", "form-action 'none'"]
    embedded = {p.embedded for p in players if p is not None}
    media = [
        *(["data:"] if True in embedded else []),
        *(["'self' file:"] if False in embedded else []),
    ]
    if media:
        parts.append(f"media-src {' '.join(media)}")
    if pictures:
        parts.append("img-src 'self' file:")
    return "; ".join(parts)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
