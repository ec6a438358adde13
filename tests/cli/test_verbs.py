"""The verbs beside `analyze`, and what the program does as a whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from tests.cli.conftest import Run, command, environment, in_process
from tests.cli.results import channel, result, silent
from tests.toy import make_toy_bundle

from voicetone import __version__
from voicetone.cli import jobs, terminal
from voicetone.cli.progress import ProgressBar
from voicetone.errors import BundleError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, toy: Path) -> dict[str, Path]:
    """What counts as installed."""
    found = {"toy": toy}
    for module in ("voicetone.pretrained", "voicetone.pretrained.bundle"):
        monkeypatch.setattr(f"{module}.installed", lambda: dict(found))
    return found


def test_version(voicetone: Run) -> None:
    done = voicetone("--version")
    assert (done.code, done.out) == (0, f"voicetone {__version__}\n")


def test_no_verb_shows_the_help(voicetone: Run) -> None:
    done = voicetone()
    assert done.code == 2
    for verb in ("analyze", "models", "doctor", "train"):
        assert verb in done.out


def test_an_unknown_verb_suggests_a_known_one(voicetone: Run) -> None:
    done = voicetone("analyse")
    assert done.code == 2
    (line,) = done.errors
    assert "analyze" in line


@pytest.mark.parametrize("verb", ["analyze", "models", "doctor", "train"])
def test_help_is_there(verb: str, voicetone: Run) -> None:
    done = voicetone(verb, "--help")
    assert done.code == 0
    assert "Usage" in done.out


def test_help_explains_how_a_killed_run_goes_on(voicetone: Run) -> None:
    words = " ".join(voicetone("analyze", "--help").out.split())
    assert "goes on where it stopped" in words
    assert "--force" in words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    env = environment(_VOICETONE_COMPLETE=f"complete_{shell}")
    env |= {"COMP_WORDS": "voicetone ana", "COMP_CWORD": "1"}
    env |= {"_TYPER_COMPLETE_ARGS": "voicetone ana", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(command(), capture_output=True, text=True, env=env, timeout=60)
    assert "analyze" in done.stdout, done.stderr


def test_models_list(voicetone: Run, installed: dict[str, Path], tmp_path: Path) -> None:
    done = voicetone("models", "list")
    assert done.code == 0
    assert done.out.startswith("toy  0.1.0  ")
    installed["bad"] = tmp_path / "nowhere"
    done = voicetone("models", "list")
    assert done.code == 3
    assert "toy" in done.out
    assert len(done.errors) == 1


def test_no_models(voicetone: Run, installed: dict[str, Path], call: Path) -> None:
    installed.clear()
    assert voicetone("models", "list").code == 0
    for words in (("models", "verify"), ("models", "info"), ("models", "info", "nothing")):
        done = voicetone(*words)
        assert done.code == 3
        assert len(done.errors) == 1


def test_models_info(voicetone: Run, installed: dict[str, Path], toy: Path) -> None:
    done = voicetone("models", "info")
    assert done.code == 0
    spec = json.loads((toy / "bundle.json").read_text())
    parts = ["toy 0.1.0", spec["notice"], "50,000 per second", "Apache-2.0", "Random weights"]
    parts += ["CC0-1.0", "nobody", "anger, happiness", spec["files"]["head.onnx"]["sha256"]]
    for part in parts:
        assert part in done.out, part
    assert done.out.index(spec["card"].strip()) < done.out.index("created  ")
    assert voicetone("models", "info", toy).out == done.out


def test_models_info_names_everyone_when_asked(voicetone: Run, tmp_path: Path, toy: Path) -> None:
    bundle = shutil.copytree(toy, tmp_path / "heard")
    spec = json.loads((bundle / "bundle.json").read_text())
    names = [f"rain {n} by me" for n in range(50)]
    (bundle / "bundle.json").write_text(json.dumps({**spec, "attribution": names}))
    short = voicetone("models", "info", bundle).out
    assert "Attribution: 50 lines, which --attributions prints" in short
    assert names[7] not in short
    whole = voicetone("models", "info", bundle, "--attributions").out
    assert whole.endswith("".join(f"  {name}\n" for name in names))


def test_models_verify(voicetone: Run, installed: dict[str, Path], tmp_path: Path) -> None:
    assert "is as it was made" in voicetone("models", "verify").out
    good = make_toy_bundle(tmp_path / "good")
    bad = make_toy_bundle(tmp_path / "bad")
    (bad / "head.onnx").write_bytes(b"x")
    done = voicetone("models", "verify", good, bad, "toy")
    assert done.code == BundleError.exit_code
    assert len(done.out.splitlines()) == 2
    assert len(done.errors) == 1


def test_doctor(
    voicetone: Run, installed: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VOICETONE_DATA", raising=False)
    done = voicetone("doctor")
    assert done.code == 0, done.out
    assert "model toy 0.1.0 is verified and runs" in done.out
    assert all(line.startswith("ok ") for line in done.out.splitlines())
    monkeypatch.setenv("VOICETONE_DATA", str(tmp_path / "nowhere"))
    done = voicetone("doctor")
    assert done.code == 3
    assert "BAD" in done.out
    monkeypatch.delenv("VOICETONE_DATA")
    installed.clear()
    assert voicetone("doctor").code == 3


def test_train_hands_over(voicetone: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("")
    asked: list[object] = []

    def train(path: Path, overrides: list[str]) -> Path:
        asked.append((path, overrides))
        return tmp_path / "run"

    module = types.ModuleType("voicetone.training.run")
    module.train = train  # type: ignore[attr-defined]
    package = types.ModuleType("voicetone.training")
    package.run = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "voicetone.training", package)
    monkeypatch.setitem(sys.modules, "voicetone.training.run", module)
    done = voicetone("train", recipe, "epochs=3", "seed=1")
    assert (done.code, done.out) == (0, f"{tmp_path / 'run'}\n")
    assert asked == [(recipe, ["epochs=3", "seed=1"])]
    assert voicetone("train", recipe, "epochs").code == 2
    assert voicetone("train", tmp_path / "none.toml").code == 2


def test_train_without_its_extra(
    voicetone: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text("")

    class NoTorch(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setitem(sys.modules, "voicetone.training", NoTorch("voicetone.training"))
    done = voicetone("train", tmp_path / "r.toml")
    assert done.code == 4
    (line,) = done.errors
    assert "voicetone[train]" in line


def test_a_defect_is_one_line_for_the_user(
    voicetone: Run, monkeypatch: pytest.MonkeyPatch, call: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("voicetone.inference.file.analyze", broken)
    done = voicetone("analyze", call)
    assert done.code == 3
    (line,) = done.errors
    assert f"{call}: unexpected ZeroDivisionError: oh no" in line
    monkeypatch.setattr("voicetone.cli.batch.run_batch", broken)
    done = voicetone("analyze", call)
    assert done.code == 1
    assert len(done.errors) == 1
    assert "Traceback" in voicetone("--debug", "analyze", call).err


def test_the_strip_reads_without_colour() -> None:
    assert terminal.strip(channel(), 12.0, 0.4, most=80) == [
        "negative",
        "negative",
        "positive",
        None,
    ]
    assert terminal.strip(channel(), 12.0, 0.4, most=2) == ["negative", "positive"]
    assert terminal.strip(silent().channels[0], 12.0, 0.4, most=80) == ["", "", "", ""]
    text = terminal.show(result(), 0.4, sys.stdout)
    assert "--+?" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.0 s"), (59.9, "59.9 s"), (61, "1:01"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert terminal.clock(seconds) == text


def test_progress_is_for_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(3) as bar:
        bar.part(0, 0.5)
        bar.done(0)
    assert capsys.readouterr().err == ""


def test_progress_shows_itself_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[float] = []

    class Row:
        def update(self, row: object, *, completed: float, description: str) -> None:
            shown.append(completed)

        def stop(self) -> None:
            shown.append(-1.0)

    monkeypatch.setattr(ProgressBar, "_open", lambda self: setattr(self, "_bar", Row()))
    monkeypatch.setattr("voicetone.cli.progress.PATIENCE", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(2) as bar:
        bar.part(0, 0.5)
        bar.part(1, 0.25)
        bar.done(0)
    assert shown == [0.5, 0.75, 1.25, -1.0]


def test_cores_are_counted() -> None:
    assert jobs.cores() >= 1


def test_the_module_runs_as_a_program() -> None:
    assert in_process(["--version"]).stdout.startswith("voicetone ")
