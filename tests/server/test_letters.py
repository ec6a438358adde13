"""What a store and its targets tell over HTTP: figures, and what could not be delivered."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from prometheus_client.parser import text_string_to_metric_families
from tests.server.serving import START, Client, quiet_settings, serving
from tests.server.targets_help import Hook, hook, quick, until
from tests.toy import make_toy_bundle

from voicetone.pretrained import load
from voicetone.server.keys import KeySettings
from voicetone.server.store import StoreSettings

__all__ = ["hook", "quick"]  # fixtures

KEYS = {"all": ("stream", "read", "delete"), "look": ("read", "stream")}


def ask(port: int, key: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
    except HTTPError as error:
        return error.code, json.loads(error.read())["code"]
    return json.loads(text) if text.startswith("{") else text


def figures(port: int) -> dict[str, float]:
    families = text_string_to_metric_families(ask(port, "all", "/metrics"))
    samples = [sample for family in families for sample in family.samples]
    store = [s for s in samples if s.name.startswith(("voicetone_store", "voicetone_target"))]
    assert all(s.labels["worker"] == "0" for s in store)
    assert all(s.labels["target"] == "hook" for s in store if "target" in s.name)
    return {s.name.removeprefix("voicetone_"): s.value for s in store}


def test_letters_that_could_not_be_delivered(tmp_path: Path, hook: Hook) -> None:
    hook.answer = lambda body: 400 if body["type"] == "session.created" else 204
    keys = tuple(
        KeySettings(name=name, hash=hashlib.sha256(name.encode()).hexdigest(), scopes=scopes)
        for name, scopes in KEYS.items()
    )
    settings = quiet_settings(
        keys=keys,
        store=StoreSettings(url=f"sqlite:///{tmp_path}/calls.db"),
        targets=(hook.settings(),),
    )
    predictor = load(make_toy_bundle(tmp_path / "bundle"))
    with serving(predictor, settings) as (state, port):
        client = Client(port, START, additional_headers={"Authorization": "Bearer all"})
        client.finish()
        until(lambda: state.store.health()["sent"]["hook"] == 1)
        until(lambda: state.store.health()["stored"] == 2)
        assert figures(port) == {
            "store_away": 0,
            "store_queued": 0,
            "store_spilled": 0,
            "store_stored_total": 2,
            "store_lost_total": 0,
            "store_bad_total": 0,
            "target_sent_total": 1,
            "target_failed_total": 1,
            "target_dead_total": 1,
        }
        again = "/v1/dead-letters/retry"
        assert ask(port, "look", "/v1/dead-letters") == (403, "forbidden")
        assert ask(port, "look", again, {}) == (403, "forbidden")
        assert ask(port, "all", "/v1/dead-letters?target=other") == {"letters": []}
        (letter,) = ask(port, "all", "/v1/dead-letters?target=hook")["letters"]
        assert (letter["call"], letter["error"]) == (client.first["call"], "answered 400")
        assert letter["body"]["type"] == "session.created"
        hook.answer = lambda body: 204
        for wrong in ({"ids": [1 << 63]}, {"ids": list(range(2000))}, {"ids": ["x"]}, []):
            assert ask(port, "all", again, wrong) == (400, "bad_request")
        assert ask(port, "all", again, {"ids": [letter["id"] + 1]}) == {"retried": 0}
        assert ask(port, "all", again, {"ids": [letter["id"]]}) == {"retried": 1}
        until(lambda: len(hook.got) == 2)
        assert ask(port, "all", "/v1/dead-letters") == {"letters": []}


def test_without_a_store_there_are_no_letters(tmp_path: Path) -> None:
    with serving(load(make_toy_bundle(tmp_path))) as (_, port):
        assert ask(port, "", "/v1/dead-letters") == (404, "not_found")
        assert ask(port, "", "/v1/dead-letters/retry", {}) == (404, "not_found")
        assert "\nvoicetone_store" not in ask(port, "", "/metrics")
