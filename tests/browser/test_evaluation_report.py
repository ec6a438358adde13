"""The report of an evaluation in a browser: it fits, plays, and runs and fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.browser.test_report import FLAGS
from tests.evaluation.tables import LABELS, made

from voicetone.evaluation.compare import compare
from voicetone.evaluation.report import render, render_comparison
from voicetone.evaluation.robustness import LIMITS, Condition, robustness
from voicetone.evaluation.scores import judge
from voicetone.evaluation.table import PredictionTable

pytestmark = pytest.mark.browser

DRAWS = 30


@pytest.fixture(scope="module")
def browser(needs_program: Callable[[str], Path]) -> Iterator[Any]:
    chromium = needs_program("chromium")
    driver = pytest.importorskip("playwright.sync_api")
    with driver.sync_playwright() as play:
        running = play.chromium.launch(executable_path=str(chromium), args=FLAGS)
        yield running
        running.close()


def full(folder: Path) -> str:
    """A report with every section, and recordings."""
    soundfile.write(folder / "a.wav", 0.1 * np.random.default_rng(0).normal(size=8000 * 2), 8000)
    table = made(seeds=(0, 1), audio=np.full(800, "a.wav"))
    effects = robustness(table, [Condition("babble 20 dB", table, LIMITS["babble 20 dB"])], DRAWS)
    data = {**judge(table, DRAWS), "robustness": [asdict(e) for e in effects]}
    return render(data, title="A model", places=[folder], folder=folder)


def hostile(folder: Path) -> str:
    word = '<img src=x onerror=alert(1)>"\u202e'
    long = "label-of-a-length-that-no-phone-can-show-in-a-line"
    labels = (word, long, *LABELS[2:])
    t = made()
    table = made(
        labels=labels,
        truth=np.array(labels)[t.truth_codes],
        id=np.array([f"{long}{word}{i}" for i in range(len(t))]),
        speaker=np.array([f"{long}{s}" for s in t.speaker]),
        groups={word: np.array([long, word])[np.arange(len(t)) % 2]},
        meta={word: long * 3},
    )
    return render(judge(table, DRAWS), title=word + long)


def many(folder: Path) -> str:
    rng = np.random.default_rng(0)
    labels = tuple(f"emotion {k}" for k in range(14))
    table = PredictionTable(
        id=np.arange(500).astype(str),
        truth=np.array(labels)[rng.integers(0, 14, 500)],
        labels=labels,
        scores=rng.dirichlet(np.ones(14), 500),
        speaker=rng.integers(0, 12, 500).astype(str),
        groups={"language": rng.choice(["de", "en", "pl", "zh", "it"], 500)},
    )
    return render(judge(table, DRAWS), title="Many labels")


def side_by_side(folder: Path) -> str:
    runs = [("one", made()), ("another run with a rather long name", made(skill=1.0))]
    return render_comparison(compare(runs, draws=DRAWS))


@pytest.mark.parametrize("make", [full, hostile, many, side_by_side])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_quietly_and_fits(
    browser: Any, tmp_path: Path, make: Callable[[Path], str], width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(make(tmp_path), "utf-8", newline="\n")
    complaints: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.on("console", lambda m: complaints.append(m.text))
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("dialog", lambda d: (complaints.append(d.message), d.dismiss()))
    page.on("request", lambda r: requests.append(r.url[:60]))
    page.goto(file.as_uri())
    assert complaints == []
    assert [u for u in requests if not u.startswith("data:")] == [file.as_uri()[:60]]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 0
    style = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert style == ("rgb(15, 20, 26)" if scheme == "dark" else "rgb(245, 246, 248)")
    page.close()


def test_an_error_can_be_played(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(full(tmp_path), "utf-8", newline="\n")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator("audio").count() == 20
    length = page.evaluate(
        """() => new Promise((done, failed) => {
            const a = document.querySelector('audio');
            a.onloadedmetadata = () => done(a.duration);
            a.onerror = () => failed(a.error.message);
            a.load(); a.preload = 'auto';
        })"""
    )
    assert length == pytest.approx(2, abs=0.2)
    page.close()


@pytest.mark.parametrize("make", [full, many, side_by_side])
def test_narrow_tables_show_what_one_came_for_or_that_they_scroll(
    browser: Any, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    """Verdicts, F1, differences and p are inside; what is cut has an arrow over its edge."""
    file = tmp_path / "report.html"
    file.write_text(make(tmp_path), "utf-8", newline="\n")
    page = browser.new_page(viewport={"width": 420, "height": 800})
    page.goto(file.as_uri())
    beyond, cut = page.evaluate(
        """() => {
            const right = e => e.getBoundingClientRect().right;
            const beyond = [...document.querySelectorAll('.stacks td, .stacks tbody th')]
                .filter(e => right(e) > right(e.closest('.panel'))).length;
            const cut = [...document.querySelectorAll('.scroll')]
                .filter(e => e.scrollWidth > e.clientWidth)
                .map(e => getComputedStyle(e, '::after'))
                .map(s => [s.position, s.right, s.content.includes('›')]);
            return [beyond, cut];
        }"""
    )
    assert beyond == 0
    assert (len(cut) > 0) == (make is not side_by_side)
    assert all(found == ["sticky", "0px", True] for found in cut)
    page.close()


def test_wide_tables_that_fit_do_not_scroll(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    for make in (full, side_by_side):
        file.write_text(make(tmp_path), "utf-8", newline="\n")
        page.goto(file.as_uri())
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)"
        )
    page.close()
