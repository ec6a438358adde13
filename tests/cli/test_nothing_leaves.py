"""Nothing of a user's call leaves the machine, and nothing is left on it but the output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import command, environment, noise, write_audio
from tests.cli.seccomp import no_internet


@pytest.fixture(scope="session")
def forbid() -> Callable[[], None]:
    """Forbids internet sockets in a process to be; proves first that it does."""
    found = no_internet()
    if found is None:
        pytest.skip("the kernel's system call filter: Linux on x86_64 or aarch64 only")
    try:
        local = run([sys.executable, "-c", "import socket; socket.socketpair()"], found)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this kernel or container forbids system call filters")
    assert local.returncode == 0, local.stderr
    for code in ("socket.socket()", "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"):
        assert run([sys.executable, "-c", f"import socket; {code}"], found).returncode < 0
    return found


def run(
    words: list[str], forbid: Callable[[], None], **options: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        words, capture_output=True, text=True, timeout=120, preexec_fn=forbid, **options
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_file_but_the_output_and_no_socket(
    jobs: int, forbid: Callable[[], None], toy: Path, tmp_path: Path
) -> None:
    for i in range(2):
        write_audio(tmp_path / "in" / f"{i}.wav", noise(6.0, channels=2, seed=i))
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    env = {
        name: value
        for name, value in environment().items()
        if not name.startswith(("XDG_", "ORT_", "VOICETONE_", "PYTEST_"))
    }
    env |= {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    formats = ("jsonl", "csv", "html")
    wanted = [word for name in formats for word in (f"--{name}", f"out/{name}.{name}")]
    wanted[-1] = "out/html/"
    words = command("analyze", "../in", "--model", toy, "--jobs", jobs, *wanted)
    done = run(words, forbid, env=env, cwd=tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "home").rglob("*")) == []
    assert list((tmp_path / "temporary").rglob("*")) == []
    work = tmp_path / "work"
    found = sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file())
    assert found == ["out/csv.csv", "out/html/0.html", "out/html/1.html", "out/jsonl.jsonl"]
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["0.wav", "1.wav"]


def test_verbs_leave_nothing_either(forbid: Callable[[], None], toy: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    env = environment(HOME=str(tmp_path / "home"), PYTHONDONTWRITEBYTECODE="1")
    env.pop("ORT_DISABLE_TELEMETRY")
    for words in (["--version"], ["models", "info", str(toy)], ["doctor"], ["models", "list"]):
        done = run(command(*words), forbid, env=env, cwd=tmp_path)
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["home"]
