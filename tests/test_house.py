"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "voicetone"
MAX_LINES = 500
MAX_FUNCTION_LINES = 60

# Spelt in two parts, so that this file does not hold what it looks for.
HOSTS = re.compile(
    "|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + "js", "/opt/" + "pypi"])
)
MACHINE_PATHS = re.compile(
    "|".join(["/ro" + r"ot/", "/ho" + r"me/\w", "/wo" + "rk/", "/tm" + r"p/\w"])
)
UNSAFE = re.compile("|".join([r"\bpick" + r"le\.", "trust_remote_code=" + "True"]))

# Rooms that are entered only with an extra installed.
HEAVY_ROOMS = ("models", "training", "augment", "server")
OPTIONAL = (
    "torch",
    "onnx",
    "onnxscript",
    "pyarrow",
    "sklearn",
    "scipy",
    "matplotlib",
    "opensmile",
    "transformers",
    "fastapi",
    "pandas",
)


def tracked() -> list[Path]:
    """The text files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = [ROOT / name for name in listed.stdout.split("\0") if name]
    files = [p for p in names if p.is_file() and b"\0" not in p.read_bytes()[:4096]]
    return [p for p in files if p.suffix not in {".flac", ".onnx", ".parquet", ".png"}]


def python_files() -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py"]


def modules(rooms_left_out: tuple[str, ...] = ()) -> list[str]:
    found = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        if parts[0] not in rooms_left_out and parts[-1] != "__main__":
            found.append(".".join(["voicetone", *(p for p in parts if p != "__init__")]))
    return found


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_importing_voicetone_is_light() -> None:
    heavy = ["torch", "onnxruntime", "pydantic", "rich", "typer", "soundfile", "jinja2", *OPTIONAL]
    done = run_python(
        f"import sys, voicetone; print([m for m in {heavy!r} if m in sys.modules])",
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_public_names_exist() -> None:
    import voicetone

    for name in voicetone.__all__:
        assert getattr(voicetone, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = voicetone.nothing


def test_the_light_install_imports_without_optional_packages() -> None:
    names = modules(rooms_left_out=HEAVY_ROOMS)
    assert len(names) > 10
    done = run_python(f"""
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"{{name}} is not in the light install")
sys.meta_path.insert(0, Blocked())
for name in {names!r}:
    importlib.import_module(name)
""")
    assert done.returncode == 0, done.stderr


def test_only_one_module_imports_the_runtime() -> None:
    importers = [
        p for p in SRC.rglob("*.py") if re.search(r"(import|from) onnxruntime", p.read_text())
    ]
    assert [p.relative_to(SRC).as_posix() for p in importers] == ["pretrained/runtime.py"]


def test_files_are_short() -> None:
    long = {
        p.relative_to(ROOT).as_posix(): n
        for p in python_files()
        if (n := len(p.read_text("utf-8").splitlines())) >= MAX_LINES
    }
    assert long == {}


def test_functions_are_short() -> None:
    long = {}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # From the first statement: a command's options are a declaration, however many.
                lines = (node.end_lineno or node.lineno) - node.body[0].lineno
                if lines >= MAX_FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize(
    "forbidden", [HOSTS, MACHINE_PATHS, UNSAFE], ids=["host", "path", "unsafe"]
)
def test_no_file_names_a_host_a_machine_path_or_an_unsafe_loader(
    forbidden: re.Pattern[str],
) -> None:
    found = [
        f"{p.relative_to(ROOT)}:{n}: {line.strip()[:80]}"
        for p in tracked()
        for n, line in enumerate(p.read_text("utf-8", errors="replace").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


def test_every_room_has_a_docstring() -> None:
    silent = [
        p.relative_to(ROOT).as_posix()
        for p in SRC.rglob("*.py")
        if not ast.get_docstring(ast.parse(p.read_text("utf-8")))
    ]
    assert silent == []


def test_declared_packages_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    declared = list(project["project"]["dependencies"])
    for needs in project["project"]["optional-dependencies"].values():
        declared += needs
    for needs in project["dependency-groups"].values():
        declared += [n for n in needs if isinstance(n, str)]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = {re.split(r"[<>=!~\[ ]", d)[0].lower().replace("_", "-") for d in declared}
    assert wanted - pinned == set()


def test_torch_is_pinned_to_the_tested_release() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
