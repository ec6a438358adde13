"""Webhooks: signed, to where the operator meant and nowhere else."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from server.targets_help import SECRET, Hook, deliveries, hook, quick
from voicetone.errors import UsageError
from voicetone.server.target_webhook import Webhook, is_public, resolve, signature
from voicetone.server.targets import (
    TargetSettings,
    WebhookSettings,
    make_target,
)

__all__ = ["hook", "quick"]  # fixtures


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_inside_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_addresses_outside_are_not(address: str) -> None:
    assert is_public(address)


def test_a_name_is_looked_up_once_and_no_address_of_it_may_be_inside(
    monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    names: list[str] = []
    answers = [["8.8.8.8", "10.0.0.1"], ["127.0.0.1"]]

    def looked_up(host: str, port: int, **_: object) -> list[Any]:
        names.append(host)
        return [(0, 0, 0, "", (address, port)) for address in answers[len(names) - 1]]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    with pytest.raises(OSError, match="private"):
        resolve("rebinding.example", 443, False)
    url = f"http://rebinding.example:{hook.port}/"
    target = Webhook(hook.settings(url=url, allow_private=False), SECRET.encode())
    (said,) = target.send(deliveries(1))
    assert said is not None
    assert "private" in said.why
    assert names == ["rebinding.example"] * 2
    assert hook.got == []


def test_redirects_are_not_followed(hook: Hook) -> None:
    hook.answer = lambda body: 307
    (said,) = Webhook(hook.settings(), SECRET.encode()).send(deliveries(1))
    assert said is not None
    assert "redirects" in said.why
    assert hook.got == []


def test_after_a_failure_its_call_waits_and_others_go_on(hook: Hook) -> None:
    hook.answer = lambda body: 500 if body["call"] == "a" and body["seq"] == 2 else 204
    some = [*deliveries(3, "a"), *deliveries(2, "b")]
    said = Webhook(hook.settings(), SECRET.encode()).send(some)
    assert [failed is None for failed in said] == [True, False, False, True, True]
    assert said[1] is not None
    assert said[1].tried
    assert said[2] is not None
    assert not said[2].tried


def test_a_server_that_drips_is_cut_off() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    going = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            while not going.wait(0.05):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    threading.Thread(target=drip, daemon=True).start()
    settings = WebhookSettings(
        name="drip",
        url=f"http://127.0.0.1:{listener.getsockname()[1]}/",
        secret_env="HOOK_SECRET",
        allow_http=True,
        allow_private=True,
        timeout=0.4,
    )
    began = time.monotonic()
    (said,) = Webhook(settings, SECRET.encode()).send(deliveries(1))
    going.set()
    listener.close()
    assert said is not None
    assert time.monotonic() - began < 3


def test_tls_is_checked_against_the_name(hook: Hook) -> None:
    url = f"https://localhost:{hook.port}/"
    (said,) = Webhook(hook.settings(url=url), SECRET.encode()).send(deliveries(1))
    assert said is not None
    assert "SSL" in said.why


def test_a_signature_depends_on_all_of_it() -> None:
    usual = signature(b"k", "1", b"body")
    assert usual.startswith("v1=")
    assert len({usual, *(signature(*x) for x in ((b"l", "1", b"body"), (b"k", "2", b"body")))}) == 3
    assert signature(b"k", "1", b"bodi") != usual


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://a.example/"},
        {"url": "ftp://a.example/"},
        {"url": "https://"},
        {"url": "https://user:pass@a.example/"},
        {"url": "https://a.example/\r\nX: y"},
        {"url": "https://a.example/#x"},
        {"url": "https://a.example:99999/"},
        {"name": "a/b"},
        {"tries": 0},
        {"events": ["nothing"]},
        {"typo": 1},
        {"kind": "smoke"},
    ],
)
def test_webhooks_that_cannot_be(changes: dict[str, Any]) -> None:
    usual = {"kind": "webhook", "name": "a", "url": "https://a.example/"}
    adapter: TypeAdapter[Any] = TypeAdapter(TargetSettings)
    adapter.validate_python(usual)
    with pytest.raises(ValidationError):
        adapter.validate_python({**usual, **changes})


def test_a_secret_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://a.example/"
    with pytest.raises(UsageError, match="no secret"):
        make_target(WebhookSettings(name="a", url=url))
    monkeypatch.setenv("SHORT", "short")
    with pytest.raises(UsageError, match="under 16"):
        make_target(WebhookSettings(name="a", url=url, secret_env="SHORT"))
    with pytest.raises(UsageError, match="can't be read"):
        make_target(WebhookSettings(name="a", url=url, secret_file=tmp_path / "none"))
    (tmp_path / "secret").write_text(SECRET + "\n")
    make_target(WebhookSettings(name="a", url=url, secret_file=tmp_path / "secret"))
