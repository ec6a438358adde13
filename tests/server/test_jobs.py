"""Jobs with several workers: whichever is asked, the one that has the job answers."""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import soundfile

from server.served import Served
from toy import make_toy_bundle
from voicetone.pretrained import load
from voicetone.server.app import make_state
from voicetone.server.keys import KeySettings
from voicetone.server.peers import Peers
from voicetone.server.settings import Settings
from voicetone.server.store import StoreSettings


def ask(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, Any]:
    headers = {"Authorization": "Bearer key", "Content-Type": "audio/wav"}
    try:
        with urlopen(Request(url, data, headers, method=method), timeout=20) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else None
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_job_is_asked_about_at_any_worker(tmp_path: Path) -> None:
    bundle = make_toy_bundle(tmp_path / "bundle")
    key = KeySettings(name="desk", scopes=("files",), hash=hashlib.sha256(b"key").hexdigest())
    settings = Settings(store=StoreSettings(url=""), keys=(key,), model=str(bundle))
    predictor = load(bundle)
    states = [make_state(settings, predictor, peers=Peers(n, 2, tmp_path)) for n in range(2)]
    out = io.BytesIO()
    soundfile.write(out, np.full(16_000, 0.1), 8000, format="WAV")
    with Served(states, tmp_path, "") as served:
        path = "/v1/analyze?consent=true&async=true"
        status, job = ask(served.url(1) + path, "POST", out.getvalue())
        assert status == 202
        assert job["id"].startswith("1-")
        for _ in range(300):
            status, found = ask(f"{served.url(0)}/v1/jobs/{job['id']}")
            assert status == 200, found
            if found["state"] == "done":
                break
            time.sleep(0.02)
        assert found["result"]["audio"]["duration"] == 2.0
        assert ask(f"{served.url(1)}/v1/jobs/{job['id']}")[1] == found
        assert ask(f"{served.url(0)}/v1/jobs/{job['id']}", "DELETE") == (204, None)
        for worker in (0, 1):
            status, said = ask(f"{served.url(worker)}/v1/jobs/{job['id']}")
            assert (status, said["code"]) == (404, "not_found")
        assert ask(f"{served.url(0)}/internal/jobs", "POST", b"{}")[0] == 404
        assert ask(f"{served.url(0)}/internal/chime", "POST", b"{}")[0] == 404
