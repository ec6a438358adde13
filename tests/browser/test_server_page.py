"""The server's page in a browser: a call that is streamed moves its picture; nothing else runs."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.browser.test_report import FLAGS, wait_until
from tests.server.serving import START, Client, quiet_settings, serving, speech

from toy import make_toy_bundle
from voicetone.audio.telephony import s16le_encode
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.server.alerts import AlertRule, AlertSettings
from voicetone.server.keys import KeySettings
from voicetone.server.settings import Settings
from voicetone.server.store import StoreSettings

pytestmark = pytest.mark.browser

RULES = AlertSettings((AlertRule(name="Long silence", kind="silence", seconds=5.0),))
KEY, DEAF = "a-key-of-the-test", "a-key-that-may-not-read"
HOSTILE = "<img src=x onerror=alert(1)>\u202e<script>alert(2)</script>"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_toy_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's microphone hears, at a rate that is not ours."""
    file = tmp_path_factory.mktemp("heard") / "heard.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(48000)
        out.writeframes(speech(20.0, 48000))
    return file


@pytest.fixture(scope="module")
def browser(needs_program: Callable[[str], Path], spoken: Path) -> Iterator[Any]:
    chromium = needs_program("chromium")
    driver = pytest.importorskip("playwright.sync_api")
    flags = [
        *FLAGS,
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}",
    ]
    with driver.sync_playwright() as play:
        running = play.chromium.launch(executable_path=str(chromium), args=flags)
        yield running
        running.close()


class Page:
    """The page as opened, with all that the browser complained of or asked for."""

    def __init__(self, browser: Any, port: int, **options: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**options)
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(d.message), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("websocket", lambda w: self.requests.append(w.url))
        self.base = f"http://127.0.0.1:{port}/"
        self.page.goto(self.base)

    def connected(self) -> Page:
        self.says("#status", "Connected")
        return self

    def says(self, selector: str, words: str) -> None:
        """Wait until an element says this."""
        found = f"document.querySelector({selector!r})?.textContent.includes({words!r})"
        wait_until(self.page, found)

    def count(self, selector: str, number: int) -> None:
        wait_until(self.page, f"document.querySelectorAll({selector!r}).length === {number}")

    def shown(self) -> list[str]:
        """The three scores of the first channel of the first card."""
        return list(self.page.locator(".call .legend").first.locator("b").all_inner_texts())

    def line(self) -> str:
        return str(self.page.locator(".call .l-negative").first.get_attribute("d"))

    def tab_to(self, selector: str) -> None:
        """Press Tab until the focus is there."""
        for _ in range(40):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        pytest.fail(f"the keyboard does not reach {selector}")


Open = Callable[..., tuple[Page, int]]


@pytest.fixture
def opened(browser: Any, predictor: Predictor, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def give(settings: Settings | None = None, **options: Any) -> tuple[Page, int]:
            store = StoreSettings(url=f"sqlite:///{tmp_path}/store.db")
            settings = settings or quiet_settings(store=store, alerts=RULES)
            _, port = stack.enter_context(serving(predictor, settings))
            page = Page(browser, port, **options)
            stack.callback(page.page.close)
            return page, port

        yield give


def quiet(seconds: float) -> bytes:
    return s16le_encode(np.zeros(round(8000 * seconds), np.float32))


def hum(seconds: float, hertz: float = 300.0) -> bytes:
    times = np.arange(round(8000 * seconds)) / 8000
    return s16le_encode((0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32))


def scores(client: Client) -> list[str]:
    """The newest `current` that a client heard, as the page writes it."""
    tone = next(e for e in reversed(client.events) if e["type"] == "tone")
    return [f"{tone['current']['sentiment'][s]:.2f}" for s in ("positive", "neutral", "negative")]


def test_a_call_that_is_streamed_moves_the_picture(opened: Open) -> None:
    page, port = opened()
    page.connected().says("#live-none", "No call is in progress")
    call = Client(port, {**START, "call": "order 7", "queue": "billing"})
    page.says(".call h3", "order 7")
    page.says(".call .where", "queue billing")
    page.says(".call .word", "no speech yet")
    call.audio(speech(5.5))
    call.until("tone")
    wait_until(page.page, "!document.querySelector('.call .word').textContent.includes('yet')")
    first, line = page.shown(), page.line()
    assert first == scores(call)
    height = page.page.locator(".call").bounding_box()["height"]
    call.audio(hum(10.0))
    for _ in range(4):
        call.until("tone")
    wait_until(page.page, f"document.querySelector('.l-negative[d]').getAttribute('d') != {line!r}")
    page.page.wait_for_timeout(600)
    assert page.shown() == scores(call) != first
    assert page.line().count("L") == 4
    assert page.page.locator(".call").bounding_box()["height"] == height

    call.audio(quiet(8.0))
    call.until("alert")
    page.says("#alert-list li", "Long silence: nobody has spoken")
    page.says("#announcer", "order 7")
    page.says(".call .alert", "Long silence")
    overall = call.finish()["channels"][0]["overall"]
    page.says("#past h3", "order 7")
    page.count(".call", 0)
    page.says("#past .tones", f"negative {overall['sentiment']['negative']:.2f}")
    page.says("#past .tones", overall["label"] or "don't know")
    assert page.page.locator("#live-none").is_visible()
    assert page.complaints == []
    assert all(url.startswith(page.base) for url in page.requests)


def test_the_report_of_a_past_call_opens_in_a_frame_without_rights(opened: Open) -> None:
    page, port = opened()
    call = Client(port, {**START, "call": "order 8"})
    call.audio(speech(12.0) + quiet(8.0))
    call.finish()
    page.page.locator("#past button:enabled").click()
    wait_until(page.page, "!document.getElementById('report-page').hidden")
    frame = page.page.frame_locator("#report-page")
    assert frame.locator("h1").inner_text() == "order 8"
    assert "Voice tone report".lower() in frame.locator(".kicker").inner_text().lower()
    page.says("#report-notes", "Long silence")
    inner = page.page.frames[1]
    assert inner.evaluate("self.origin") == "null"
    plot = frame.locator(".plot").first
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] / 2, "y": 30})
    assert "50" in frame.locator(".cursor").first.get_attribute("x1")
    page.page.locator("#report-close").click()
    assert not page.page.locator("#report").is_visible()
    assert page.complaints == []


def test_names_from_calls_stay_text(opened: Open) -> None:
    page, port = opened()
    call = Client(
        port, {**START, "call": HOSTILE, "queue": HOSTILE, "channel_names": [HOSTILE[:60]]}
    )
    page.says(".call h3", "<img src=x onerror=alert(1)>")
    page.says(".call .who", "<img")
    call.audio(speech(6.0) + quiet(9.0))
    call.until("alert")
    page.says("#alert-list", "<img")
    call.finish()
    page.says("#past h3", "<script>")
    page.page.locator("#past button:enabled").click()
    wait_until(page.page, "!document.getElementById('report-page').hidden")
    assert "<img" in page.page.frame_locator("#report-page").locator("h1").inner_text()
    assert page.page.locator("img").count() == 0
    assert "\u202e" not in page.page.content()
    assert page.complaints == []


def test_the_most_negative_call_comes_first(opened: Open) -> None:
    page, port = opened()
    calls = []
    sounds = (speech(8.0), hum(8.0), hum(8.0, 1100))
    for number, sound in enumerate(sounds):
        call = Client(port, {**START, "call": f"call {number}"})
        call.audio(sound)
        call.until("tone")
        call.until("tone")
        calls.append(call)
    expected = sorted(calls, key=lambda c: -float(scores(c)[2]))
    names = [f"call {calls.index(call)}" for call in expected]
    order = "[...document.querySelectorAll('.call h3')].map(h => h.textContent).join()"
    wait_until(page.page, f"{order} === {','.join(names)!r}")
    hold = page.page.locator("#hold")
    hold.click()
    assert hold.get_attribute("aria-pressed") == "true"
    calls[0].finish()
    page.count(".call", 2)
    assert page.complaints == []


def test_the_microphone_is_heard_only_with_consent(opened: Open) -> None:
    page, _ = opened()
    page.connected()
    start = page.page.locator("#speak")
    assert start.is_disabled()
    page.page.check("#consent")
    start.click()
    page.says("#microphone-said", "Listening")
    page.says(".call h3", "microphone test")
    assert page.page.locator("#own-tone .word").inner_text() != "– no speech yet"
    assert float(page.page.evaluate("document.getElementById('level').value")) > 0.1
    start.click()
    page.says("#microphone-said", "Done. As a whole: ")
    page.says("#past h3", "microphone test")
    assert start.inner_text() == "Start"
    assert page.complaints == []
    (stream,) = [url for url in page.requests if "/v1/stream" in url]
    assert stream.endswith("/v1/stream")


def test_by_the_keyboard_alone(opened: Open) -> None:
    page, port = opened()
    call = Client(port, {**START, "call": "order 9"})
    call.audio(speech(6.0))
    call.finish()
    page.connected()
    wait_until(page.page, "document.querySelector('#past button:enabled') !== null")
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.textContent").startswith("Skip to")
    outline = page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.tab_to("#consent")
    page.page.keyboard.press("Space")
    page.tab_to("#speak")
    page.page.keyboard.press("Enter")
    page.says("#microphone-said", "Speak")
    page.page.keyboard.press("Enter")
    page.says("#microphone-said", "Done")
    page.tab_to("#past li:last-child button")
    button = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert button == "Report of order 9"
    other = Client(port, {**START, "call": "order 10"})
    other.audio(speech(2.0))
    other.finish()
    page.says("#past h3", "order 10")  # a new row above does not take the focus
    page.page.wait_for_timeout(1500)
    page.page.keyboard.press("Enter")
    wait_until(page.page, "document.getElementById('report').open")
    page.page.keyboard.press("Escape")
    assert not page.page.locator("#report").is_visible()
    assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == button
    assert page.complaints == []


def test_a_key_is_asked_for_once_and_never_in_an_address(opened: Open) -> None:
    keys = (
        KeySettings("desk", ("read", "stream"), hash=sha256(KEY.encode()).hexdigest()),
        KeySettings("deaf", ("stream",), hash=sha256(DEAF.encode()).hexdigest()),
    )
    page, port = opened(quiet_settings(keys=keys))
    page.says("#status", "Waiting for a key")
    assert not page.page.locator("main").is_visible()
    assert page.page.evaluate("document.activeElement.id") == "key"
    page.page.keyboard.type("wrong")
    page.page.keyboard.press("Enter")
    page.says("#key-problem", "not known here")
    page.page.keyboard.type(KEY)
    page.page.keyboard.press("Enter")
    page.connected()
    bearer = {"additional_headers": {"Authorization": f"Bearer {KEY}"}}
    call = Client(port, {**START, "call": "behind a key"}, **bearer)
    page.says(".call h3", "behind a key")
    page.page.check("#consent")
    page.page.click("#speak")
    page.count(".call", 2)
    page.page.click("#speak")
    page.says("#microphone-said", "Done")
    page.page.reload()
    page.connected().says(".call h3", "behind a key")
    call.finish()
    assert not [url for url in page.requests if KEY in url or "ticket" in url.split("/v1/")[0]]
    assert not [url for url in page.requests if "ticket." in url]
    told = [
        line for line in page.complaints if "401" not in line
    ]  # Chromium's own, of the wrong key
    assert told == []

    page.page.evaluate(f"sessionStorage.setItem('voicetone-key', {DEAF!r})")
    page.page.reload()
    page.says("#status", "lacks the scope read")


def test_without_a_store_what_ended_is_still_shown(opened: Open) -> None:
    page, port = opened(quiet_settings())
    call = Client(port, {**START, "call": "order 11"})
    page.says(".call h3", "order 11")
    call.audio(speech(6.0))
    call.finish()
    page.says("#past h3", "order 11")
    page.says("#history-said", "no store")
    page.says("#archive-said", "no store")
    assert page.page.locator("#past button").is_disabled()
    assert page.complaints == []


def test_the_archive_counts_what_ended(opened: Open) -> None:
    page, port = opened()
    for queue in ("billing", "returns", "billing"):
        call = Client(port, {**START, "queue": queue})
        call.audio(speech(6.0))
        call.finish()
    page.page.wait_for_timeout(600)
    page.page.click("#again")
    page.says("#archive-said", "3 calls")
    rows = page.page.locator("#archive-table tbody tr").all_inner_texts()
    assert [row.split()[1:3] for row in rows] == [["billing", "2"], ["returns", "1"]]
    page.page.select_option("#queue", "returns")
    page.says("#archive-said", "1 call,")
    assert page.complaints == []


def test_it_comes_back_when_the_server_does(browser: Any, predictor: Predictor) -> None:
    with serving(predictor, quiet_settings()) as (state, port):
        page = Page(browser, port)
        page.connected()
        state.hub.draining = True  # without a call in progress, a feed ends then
        page.says("#status", "trying again")
        state.hub.draining = False
        page.connected()
        assert page.complaints == []
        page.page.close()


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_nothing_jumps(opened: Open, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900}
    page, port = opened(viewport=size, color_scheme=scheme)
    calls = [Client(port, {**START, "call": "a-word-that-is-long" * 9}), Client(port, START)]
    page.page.click("#hold")  # or the order would settle later
    page.count(".call", 2)
    watch = """() => { window.shifts = 0; new PerformanceObserver(list => {
        for (const e of list.getEntries()) window.shifts += e.value;
    }).observe({ type: 'layout-shift' }); }"""
    page.page.evaluate(watch)
    for call in calls:
        call.audio(speech(8.0))
        call.until("tone")
    wait_until(page.page, "!document.querySelector('.call .word').textContent.includes('yet')")
    page.page.wait_for_timeout(300)
    assert page.page.evaluate("window.shifts") < 0.01
    calls[0].finish()
    page.says("#past h3", "a-word")
    page.page.wait_for_timeout(600)
    page.page.click("#again")
    page.says("#archive-said", "1 call,")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    style = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert style == ("rgb(15, 20, 26)" if scheme == "dark" else "rgb(245, 246, 248)")
    assert page.complaints == []


RESAMPLED = """async ([rate, hertz]) => {
    const { Resampler } = await import('./page/resample.js');
    const make = (size) => {
        const resampler = new Resampler(rate), made = [];
        for (let at = 0; at < rate / 4; at += size) {
            const n = Math.min(size, rate / 4 - at);
            made.push(...resampler.push(Float32Array.from({ length: n }, (_, i) =>
                0.5 * Math.sin(2 * Math.PI * hertz * (at + i) / rate))));
        }
        return made;
    };
    return [make(128), make(1000)];
}"""


def test_the_microphones_rate_becomes_ours(opened: Open) -> None:
    page, _ = opened(quiet_settings())
    for rate in (16000, 44100, 48000):
        for hertz, passes in ((1000, True), (6500, True), (9500, False)):
            if 2 * hertz > rate:
                continue
            small, large = (np.array(x) for x in page.page.evaluate(RESAMPLED, [rate, hertz]))
            assert len(small) == pytest.approx(4000, abs=50)
            assert small == pytest.approx(large, abs=1e-6)
            wanted = 0.5 * passes * np.sin(2 * np.pi * hertz * np.arange(len(small)) / 16000)
            most = 0.003 if passes else 0.5e-3  # -60 dB
            assert np.abs(small - wanted)[200:-200].max() < most
