"""The pages on the server say what the code has: routes, codes, events, settings and figures."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import APIWebSocketRoute
from tests.server.asyncapi import conforms
from tests.server.serving import quiet_settings

from toy import make_toy_bundle
from voicetone.pretrained import load
from voicetone.server.app import ROUTES, make_app, make_state
from voicetone.server.events import EventType
from voicetone.server.keys import SCOPES, new_key
from voicetone.server.metrics import Metrics
from voicetone.server.refusal import STATUS
from voicetone.server.settings import Settings, read_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
SERVER = (DOCS / "server.md").read_text("utf-8")
OPERATIONS = (DOCS / "server-operations.md").read_text("utf-8")


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line begins so."""
    table = page[page.index(head) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    predictor = load(make_toy_bundle(tmp_path_factory.mktemp("bundle")))
    return make_app(make_state(quiet_settings(), predictor))


def test_codes_and_their_statuses_are_those_of_the_code() -> None:
    table = {row[0].strip("`"): int(row[1]) for row in rows(SERVER, "| code | status |")}
    assert table == STATUS


def test_scopes_are_those_of_the_code() -> None:
    assert {row[0].strip("`") for row in rows(SERVER, "| scope | allows |")} == set(SCOPES)


def routes() -> set[str]:
    """`METHOD path` of everything that is served in public; below a task, only its start."""
    found = {"GET /openapi.json"}
    for name in ROUTES:
        for route in import_module(f"voicetone.server.{name}").router.routes:
            if route.path.startswith("/internal/") or route.path.endswith("/{task}"):
                continue
            methods = {"WS"} if isinstance(route, APIWebSocketRoute) else route.methods
            found |= {f"{method} {route.path}" for method in methods}
    return found


def test_routes_are_those_of_the_code() -> None:
    assert {row[0].strip("`") for row in rows(SERVER, "| route | scope |")} == routes()


def test_figures_are_those_of_the_code(app: Any) -> None:
    metrics: Metrics = app.state.server.metrics
    said = {}
    for metric in metrics.registry._collector_to_names:  # families hide labels not yet used
        (family,) = metric.describe()[:1]
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = getattr(metric, "_labelnames", ())
        said[name] = tuple(one for one in labels if one != "worker")
    table = {
        row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1]))
        for row in rows(OPERATIONS, "| metric | labels |")
    }
    assert table == said


def test_rules_name_figures_that_there_are() -> None:
    known = {row[0].strip("`") for row in rows(OPERATIONS, "| metric | labels |")}
    for rule, _ in rows(OPERATIONS, "| rule | why |"):
        for name in re.findall(r"voicetone_\w+", rule):
            assert name.removesuffix("_bucket") in known, name


def test_each_type_of_event_has_an_example_that_is_one() -> None:
    examples = [json.loads(block) for block in blocks(SERVER, "json")]
    told = {one["type"] for one in examples}
    assert set(get_args(EventType)) <= told
    for one in examples:
        conforms(one)


def test_the_settings_shown_are_settings(tmp_path: Path) -> None:
    shown, entry = blocks(SERVER, "toml")
    (tmp_path / "server.toml").write_text(shown)
    (tmp_path / "keys.toml").write_text(entry)
    settings = read_settings(tmp_path / "server.toml")
    assert [key.name for key in settings.keys] == ["desk"]
    usual = Settings()
    for name in re.findall(r"^(\w+) = ", shown.partition("[tls]")[0], re.MULTILINE):
        if name in ("model", "keys_file", "run_folder", "notice"):
            continue
        here = settings.limits if hasattr(usual.limits, name) else settings
        there = usual.limits if hasattr(usual.limits, name) else usual
        assert getattr(here, name) == getattr(there, name), f"{name} is shown with its default"


def test_the_entry_of_a_key_reads_like_the_one_shown() -> None:
    _, made = new_key("desk")
    _, shown = blocks(SERVER, "toml")
    for line in ("[[keys]]", 'name = "desk"', 'scopes = ["stream", "read"]'):
        assert line in made
        assert line in shown
