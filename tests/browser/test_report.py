"""The report in a browser: it plays, its cursor follows, it fetches and executes nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation import calls

from voicetone.evaluation.call_report import render
from voicetone.types import FileResult

pytestmark = pytest.mark.browser

CURSOR_MOVED = "parseFloat(document.querySelector('.cursor').getAttribute('x1')) > 50.9"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def browser(needs_program: Callable[[str], Path]) -> Iterator[Any]:
    chromium = needs_program("chromium")
    driver = pytest.importorskip("playwright.sync_api")
    with driver.sync_playwright() as play:
        running = play.chromium.launch(executable_path=str(chromium), args=FLAGS)
        yield running
        running.close()


class Opened:
    """A report opened from disk, with all that the browser complained of or asked for."""

    def __init__(self, browser: Any, file: Path, html: str, **options: Any) -> None:
        file.write_text(html, "utf-8", newline="\n")
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**options)
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(d.message), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url[:60]))
        self.page.goto(file.as_uri())

    def cursors(self) -> list[str]:
        script = "lines => lines.map(l => l.getAttribute('x1'))"
        found: list[str] = self.page.eval_on_selector_all(".cursor", script)
        return found

    def time(self) -> float:
        return float(self.page.evaluate("document.getElementById('audio').currentTime"))


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    pages: list[Opened] = []

    def give(
        result: FileResult, audio: Path | None = None, name: str = "report.html", **options: Any
    ) -> Opened:
        html = render(
            result, spec=calls.SPEC, peaks=calls.peaks(result), audio=audio, folder=tmp_path
        )
        pages.append(Opened(browser, tmp_path / name, html, **options))
        return pages[-1]

    yield give
    for one in pages:
        one.page.close()


def call_of(seconds: float) -> FileResult:
    """A result as long as the example call."""
    talk = calls.channel(1, seconds, lambda t: 0.8 if t < 26 else -0.8, name="customer")
    return FileResult("call.flac", seconds, "tone-small 0.1.0", (), (talk,))


def wait_until(page: Any, condition: str) -> None:
    """Until a JavaScript expression is true. Asked from here: the page itself may not poll one."""
    last = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < last, f"still not so: {condition}"
        page.wait_for_timeout(50)


def ready(page: Any) -> float:
    wait_until(page, "document.getElementById('audio').readyState >= 1")
    return float(page.evaluate("document.getElementById('audio').duration"))


def test_a_click_jumps_there_and_the_cursor_follows(
    opened: Callable[..., Opened], example_call: Path
) -> None:
    report = opened(call_of(52.0), example_call)
    page = report.page
    assert ready(page) == pytest.approx(52, abs=0.5)
    plot = page.locator(".plot").first
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] / 2, "y": 60})
    assert report.time() == pytest.approx(26, abs=0.3)
    assert float(report.cursors()[0].rstrip("%")) == pytest.approx(50, abs=0.5)
    page.click("#play")
    wait_until(page, "document.getElementById('audio').currentTime > 26.6")
    wait_until(page, CURSOR_MOVED)
    page.click("#play")
    assert page.evaluate("document.getElementById('audio').paused")
    assert report.complaints == []
    assert not [url for url in report.requests if not url.startswith(("file:", "data:"))]


def test_the_keyboard_moves_and_plays(opened: Callable[..., Opened], example_call: Path) -> None:
    report = opened(call_of(52.0), example_call)
    page = report.page
    ready(page)
    page.locator(".plot").first.focus()
    for key in ("PageUp", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert report.time() == pytest.approx(32.5, abs=0.1)
    assert "negative" in page.locator(".plot").first.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    assert report.time() == 0
    page.keyboard.press("Space")
    wait_until(page, "!document.getElementById('audio').paused")
    page.keyboard.press("Space")
    wait_until(page, "document.getElementById('audio').paused")
    assert report.complaints == []


def test_turning_points_jump_there(opened: Callable[..., Opened], example_call: Path) -> None:
    report = opened(call_of(52.0), example_call)
    ready(report.page)
    button = report.page.locator("button[data-time]").first
    button.click()
    assert report.time() == pytest.approx(float(button.get_attribute("data-time")), abs=0.05)
    assert "0:2" in report.page.locator(".readout").first.inner_text()


def test_without_the_recording_the_pictures_still_read(opened: Callable[..., Opened]) -> None:
    report = opened(calls.two_party())
    plot = report.page.locator(".plot").nth(1)
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * 81 / 180, "y": 60})
    assert len(set(report.cursors())) == 1
    assert float(report.cursors()[0].rstrip("%")) == pytest.approx(100 * 81 / 180, abs=0.5)
    said = report.page.locator(".readout").nth(1).inner_text()
    assert "1:2" in said
    assert "negative" in said
    page = report.page
    page.mouse.move(0, 0)
    assert page.locator(".readout").nth(1).inner_text() == said
    plot.hover(position={"x": box["width"] * 150 / 180, "y": 60})
    assert "positive" in page.locator(".readout").nth(1).inner_text()
    assert float(report.cursors()[0].rstrip("%")) == pytest.approx(100 * 81 / 180, abs=0.5)
    assert report.complaints == []


def test_a_linked_recording_plays(opened: Callable[..., Opened], tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    audio = tmp_path / "a #1 ü?.wav"
    soundfile.write(audio, np.zeros(8000 * 905, np.int16), 8000)
    talk = calls.channel(1, 905, lambda t: 0.5)
    report = opened(FileResult(audio.name, 905, "m", (), (talk,)), audio)
    assert ready(report.page) == pytest.approx(905, abs=0.5)
    assert report.complaints == []


@pytest.mark.parametrize("make", [calls.hostile, calls.silence, calls.short, calls.eight])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_kind_of_call_opens_quietly_and_fits(
    opened: Callable[..., Opened], make: Callable[[], FileResult], width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    report = opened(make(), viewport=size, color_scheme=scheme)
    assert report.complaints == []
    assert len(report.requests) == 1
    assert report.page.evaluate("document.documentElement.scrollWidth") <= width
    assert report.page.locator("img").count() == 0


def test_the_policy_stops_what_is_not_the_reports_own(browser: Any, tmp_path: Path) -> None:
    """Were something to slip through the escaping, the browser would still not run it."""
    html = render(calls.mono(), spec=calls.SPEC)
    html = html.replace("</main>", "<img src=x onerror=alert(1)><script>alert(2)</script></main>")
    report = Opened(browser, tmp_path / "tampered.html", html)
    report.page.wait_for_timeout(200)
    assert not {"1", "2"} & set(report.complaints)
    assert any("Content Security Policy" in line for line in report.complaints)
    report.page.close()
