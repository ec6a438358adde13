"""Nothing leaves the machine, and nothing is left behind on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.toy import make_toy_bundle

SOURCE = Path(__file__).resolve().parents[2] / "src"

ANALYSE = """
import sys
import voicetone
result = voicetone.analyze(sys.argv[2], voicetone.load(sys.argv[1]))
assert len(result.channels[0].windows) == 3, result
print("analysed")
"""

# Any attempt of Python code to reach a network ends the process; native code is seen by its
# open sockets at the end.
GUARD = """
import atexit, os, socket
def refuse(*args, **kwargs):
    os.write(2, b"a connection was attempted\\n")
    os._exit(77)
for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
def sockets():
    folder = "/proc/self/fd"
    if os.path.isdir(folder):
        for number in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{number}").startswith("socket:"):
                    refuse()
            except OSError:
                pass
atexit.register(sockets)
"""


def _environment(home: Path, guard: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")}
    return {
        **kept,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PYTHONPATH": os.pathsep.join([str(guard), str(SOURCE)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _run(tmp_path: Path, code: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """Run code on the toy bundle and 10 s of noise; the result and what it left in HOME."""
    home, guard, empty = tmp_path / "home", tmp_path / "guard", tmp_path / "empty"
    for folder in (home / "tmp", guard, empty):
        folder.mkdir(parents=True)
    (guard / "sitecustomize.py").write_text(GUARD)
    sound = np.random.default_rng(0).uniform(-0.2, 0.2, 160_000)
    soundfile.write(tmp_path / "noise.wav", sound, 16000)
    toy = make_toy_bundle(tmp_path / "toy")
    done = subprocess.run(
        [sys.executable, "-c", code, str(toy), str(tmp_path / "noise.wav")],
        env=_environment(home, guard),
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    left = [p for folder in (home, empty) for p in folder.rglob("*") if p != home / "tmp"]
    return done, left


def test_analysing_leaves_nothing_and_connects_to_nothing(tmp_path: Path) -> None:
    done, left = _run(tmp_path, ANALYSE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "analysed\n", "")
    assert left == []


def test_the_guard_sees_a_connection(tmp_path: Path) -> None:
    code = "import socket; socket.socket().connect(('127.0.0.1', 9))"
    assert _run(tmp_path, code)[0].returncode == 77


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc here")
def test_the_guard_sees_an_open_socket(tmp_path: Path) -> None:
    code = "import socket; s = socket.socket()"
    assert _run(tmp_path, code)[0].returncode == 77


def test_telemetry_stays_off_whatever_the_environment_says(tmp_path: Path) -> None:
    code = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '0'\n" + ANALYSE
    code += "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    done, left = _run(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert left == []


def test_one_module_imports_the_runtime() -> None:
    pattern = re.compile(r"^\s*(import|from)\s+onnxruntime\b", re.MULTILINE)
    importers = [
        p.relative_to(SOURCE).as_posix()
        for p in SOURCE.rglob("*.py")
        if pattern.search(p.read_text(encoding="utf-8"))
    ]
    assert importers == ["voicetone/pretrained/runtime.py"]


def test_the_light_way_is_light(tmp_path: Path) -> None:
    heavy = "torch onnx scipy sklearn pandas pyarrow matplotlib transformers"
    code = ANALYSE + f"assert not set({heavy.split()!r}) & set(sys.modules), 'heavy'\n"
    done, _ = _run(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_threads_of_the_runtime_with_one_thread(tmp_path: Path) -> None:
    """One thread is one thread: all arithmetic runs in the caller's."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("there is no /proc here")
    code = "import os\nos.environ['OPENBLAS_NUM_THREADS'] = '1'\n" + ANALYSE
    code += "assert len(os.listdir('/proc/self/task')) == 1, os.listdir('/proc/self/task')\n"
    done, _ = _run(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")
