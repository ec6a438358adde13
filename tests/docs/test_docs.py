"""Every code block in the README and in `docs/` runs, in the order of its page.

Python blocks of a page share their names. Shell blocks run in the same folder, which holds the
example call; a command that fails fails the test. JSON and TOML blocks must parse. A block that
can't run here is preceded by `<!-- not run: reason -->`; blocks of plain output are `text`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]*?) *-->\s*\Z")
FENCE = re.compile(r"^ *```(?P<language>\S*)", re.MULTILINE)
COMMAND = re.compile(r"(^|[|&;( ]) *voicetone\b")
TIMEOUT = 120  # s, for one shell block


def run_shell(example: Example) -> None:
    """Run a block with bash; each of its commands must be about voicetone."""
    for line in re.sub(r"\\\n", " ", example.parsed).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            assert COMMAND.search(line), f"{line!r} does not run voicetone: mark it as not run"
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr


def parse_json(example: Example) -> None:
    json.loads(example.parsed)


def parse_toml(example: Example) -> None:
    tomllib.loads(example.parsed)


EVALUATORS = {
    "python": PythonEvaluator(),
    "bash": run_shell,
    "json": parse_json,
    "toml": parse_toml,
}


def code_blocks(document: Document) -> Iterable[Region]:
    """The blocks that are to be run."""
    for language, evaluator in EVALUATORS.items():
        for region in CodeBlockParser(language, evaluator)(document):
            if not NOT_RUN.search(document.text[: region.start]):
                yield region


def fences(text: str) -> list[tuple[str, str | None]]:
    """Language and reason not to run of each block of a page."""
    found = []
    for n, match in enumerate(FENCE.finditer(text)):
        if n % 2 == 0:
            before = NOT_RUN.search(text[: match.start()])
            found.append((match["language"], before["reason"] if before else None))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_code_of_a_page_runs(
    page: Path, example_call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    shutil.copy(example_call, tmp_path)
    for example in Sybil([code_blocks]).parse(page).examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_blocks_have_a_known_language_or_a_reason(page: Path) -> None:
    for language, reason in fences(page.read_text("utf-8")):
        assert language in {*EVALUATORS, "text"}
        if reason is not None:
            assert len(reason) > 10, "say why the block can't be run"


def test_the_number_of_blocks_run_is_the_number_written() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        wanted = sum(1 for lang, why in fences(text) if lang in EVALUATORS and why is None)
        assert len(list(Sybil([code_blocks]).parse(page).examples())) == wanted


def test_a_failing_command_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nvoicetone no-such-command\n```\n")
    (example,) = Sybil([code_blocks]).parse(page).examples()
    with pytest.raises(AssertionError):
        example.evaluate()


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in PAGES[1:]:
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in nav


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
