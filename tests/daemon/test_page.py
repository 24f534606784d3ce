"""The operator's page in Chromium: what it shows, what it does, and that nothing of it comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_guard.daemon.api import page
from stream_guard.daemon.control import Health, JobState, StreamState
from tests.daemon.api_server import READ, TOKENS, WRITE, running
from tests.support.browser import Browser, browser
from tests.support.control_fake import FakeControl


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def window(chromium: Browser) -> Iterator[Browser]:
    """One page to a test, without the token of the last; in the end its console may hold no error."""
    chromium.size(1200, 900)
    yield chromium
    complaints = [
        text
        for text in chromium.complaints()
        if not re.search(r"status of (401|404|422|503)|net::ERR_(CONN|EMPTY|INCOMP)", text)
    ]
    chromium.run("sessionStorage.clear()")
    chromium.open("about:blank")
    assert complaints == []


def stream(name: str, **more: object) -> StreamState:
    status = {
        "phase": "running",
        "frames_in": 1500,
        "frames_out": 1490,
        "dropped": {"late": 10},
        "unprotected": {},
        "blocked": {},
        "verdicts": {"detect:fake": 2},
        "faces": 1490,
        "protected_faces": 1490,
        "fps": 24.97,
        "latency_seconds": 0.041,
        "reconnects": 3,
        "width": 1280,
        "height": 720,
    }
    given = {"name": name, "origin": "api", "phase": "running", "source": "rtmp://host/live/...", "started": 1.0}
    return StreamState.model_validate({**given, "status": status, **more})


def job(id: str, **more: object) -> JobState:
    given = {"id": id, "phase": "running", "kind": "protect", "source": "/in.mp4", "output": "/out.mp4", "priority": 0}
    return JobState.model_validate({**given, "attempts": 1, "created": 1.0, "started": 2.0, **more})


def test_an_empty_daemon_says_what_to_do(window: Browser) -> None:
    with running() as api:
        window.open(api.server.url)
        window.wait_for("No stream runs. Start one below.")
        window.wait_for("No file job. Queue one below.")
        assert window.text("#ready") == "Ready"


def test_a_stream_shows_its_figures(window: Browser) -> None:
    control = FakeControl()
    control.put(stream("studio"))
    with running(control) as api:
        window.open(api.server.url)
        window.wait_for("25.0 fps", "[data-name=studio]")
        shown = window.text("[data-name=studio]")
        for part in ("Running", "41 ms", "1,490", "late 10", "all protected", "detect:fake 2", "1280 x 720"):
            assert part in shown
        assert "unprotected" not in window.text("#notes")
        assert window.text("#streams-sum") == "1 of 1 running"


def test_unprotected_pictures_are_said_first(window: Browser) -> None:
    control = FakeControl()
    state = stream("studio")
    control.put(state)
    with running(control) as api:
        window.open(api.server.url)
        window.wait_for("no picture", ".figures .good")
        control.put(state.model_copy(update={"status": {**state.status, "unprotected": {"engine_failed": 1200}}}))
        window.wait_for("1,200 pictures left studio unprotected: engine failed 1,200.", "#notes")
        assert window.text(".figures .bad").split()[:2] == ["Unprotected", "1,200"]


def test_pictures_are_shown_side_by_side(window: Browser) -> None:
    control = FakeControl()
    control.put(stream("studio"))
    with running(control) as api:
        window.open(api.server.url)
        window.wait_for("Show pictures")
        window.click("[data-name=studio] button")
        script = (
            "return [...document.images].filter(image => image.closest('figure') && image.naturalWidth == 480).length"
        )
        window.wait(lambda: window.run(script) == 3)
        assert "As it came" in window.text(".pictures")


def test_readiness_and_errors_come_in_words(window: Browser) -> None:
    control = FakeControl()
    control.state = Health(ready=False, engine="building", reasons=["the engine is built: 40 %"])
    control.put(stream("studio", phase="failed", error="the worker crashed 5 times"))
    with running(control) as api:
        window.open(api.server.url)
        window.wait_for("Building the engine: the engine is built: 40 %", "#notes")
        assert "Failed" in window.text("[data-name=studio] .head")
        assert window.text("[data-name=studio] .error") == "the worker crashed 5 times"


def test_a_daemon_that_is_gone_is_said_and_found_again(window: Browser) -> None:
    with running() as api:
        window.open(api.server.url)
        window.wait_for("Ready", "#ready")
        api.server.stop()
        window.wait_for("The daemon does not answer", "#notes")
        port = api.server.port
    with running(port=port):
        window.wait(lambda: window.text("#notes") == "")
        window.wait_for("live", "#live")
        assert window.text("#ready") == "Ready"


def test_an_event_shows_at_once(window: Browser) -> None:
    with running() as api:
        window.open(api.server.url)
        window.wait_for("live", "#live")
        api.control.tell("reconnect", "the source is back", stream="studio")
        window.wait_for("studio: the source is back", "#events")


def test_a_stream_is_started_and_stopped(window: Browser) -> None:
    with running() as api:
        window.open(api.server.url)
        window.wait_for("Start a stream")
        window.click("#start summary")
        window.type("#start [name=name]", "studio")
        window.type("#start [name=source]", "gopher://host/live/x")
        window.type("#start [name=outputs]", "rtmp://host/a/x\nrtmp://host/b/x")
        window.click("#start button")
        window.wait_for("has a scheme that is not allowed", "#start .said")
        window.run("document.querySelector('#start [name=source]').value = ''")
        window.type("#start [name=source]", "rtmp://host/live/x")
        window.click("#start button")
        window.wait_for("studio was started.", "#start .said")
        assert len(api.control.stream("studio").outputs) == 2
        window.wait_for("fps", "[data-name=studio]")
        window.click("[data-name=studio] .buttons :last-child")
        assert api.control.streams()
        window.wait_for("Stop it, really?")
        window.click("[data-name=studio] .sure")
        window.wait_for("No stream runs")
        assert api.control.streams() == []


def test_a_job_is_queued_watched_and_cancelled(window: Browser) -> None:
    with running() as api:
        window.open(api.server.url)
        window.wait_for("Queue a job")
        window.click("#submit summary")
        window.type("#submit [name=source]", "/media/in.mp4")
        window.type("#submit [name=output]", "/media/out.mp4")
        window.click("#submit button")
        window.wait_for("was queued.", "#submit .said")
        window.wait_for("/media/in.mp4 → /media/out.mp4", "#jobs")
        window.wait(lambda: window.run("return document.querySelector('progress').value") > 0)
        window.click(".job button")
        window.click(".job .sure")
        window.wait_for("Cancelled", "#jobs")
        assert api.control.jobs()[0].outcome == "aborted"


def test_jobs_that_ended_say_how(window: Browser) -> None:
    control = FakeControl()
    control.put_job(job("a1", phase="ended", outcome="failed", ended=3.0, error="the file is cut off"))
    control.put_job(job("b2", phase="ended", outcome="killed_memory", ended=3.0))
    control.put_job(job("c3", phase="waiting", progress=0.5, attempts=2))
    with running(control) as api:
        window.open(api.server.url)
        window.wait_for("the file is cut off", "[data-id=a1]")
        assert "Killed: out of memory" in window.text("[data-id=b2]")
        waiting = window.text("[data-id=c3]")
        assert "Waits to try again" in waiting
        assert "50 %" in waiting
        assert "attempt 2" in waiting


def test_a_token_is_asked_for_and_kept_in_the_tab(window: Browser) -> None:
    control = FakeControl()
    control.put(stream("studio"))
    with running(control, tokens=TOKENS) as api:
        window.open(api.server.url)
        window.wait_for("A token is needed")
        assert "studio" not in window.text()
        window.type("#login input", "wrong")
        window.click("#login button")
        window.wait_for("The daemon does not know this token.")
        window.type("#login input", READ)
        window.click("#login button")
        window.wait_for("studio", "#streams")
        assert "read, may only look" in window.text("#who")
        assert "Start a stream" not in window.text()
        assert "Stop" not in window.text("[data-name=studio]")
        assert READ not in window.run("return document.documentElement.outerHTML + location.href + document.cookie")
        window.click("#forget")
        window.wait_for("A token is needed")
        window.type("#login input", WRITE)
        window.click("#login button")
        window.wait_for("Start a stream")
        window.open(api.server.url)
        window.wait_for("Start a stream")


def test_what_workers_say_stays_text(window: Browser) -> None:
    control = FakeControl()
    nasty = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"
    control.put(stream("studio", error=nasty, source=nasty))
    control.tell(nasty, nasty, stream="studio")
    with running(control) as api:
        window.open(api.server.url)
        window.wait_for(nasty, "[data-name=studio] .error")
        window.wait_for(nasty, "#events")
        assert window.run("return document.title") == "Stream Guard"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_and_can_be_read(window: Browser, width: int, dark: bool) -> None:
    """Nothing is wider than the screen, and each text stands out from what is behind it as WCAG AA asks (4.5)."""
    control = FakeControl()
    control.put(stream("a-stream-with-a-long-name." + "x" * 38, error="no picture for 5 s", restarts=1))
    control.put(stream("studio", status={**stream("s").status, "unprotected": {"late": 2}}))
    control.put_job(job("a1", phase="waiting", source="/srv/" + "long/" * 30 + "in.mp4", error="the disk is full"))
    control.state = Health(ready=False, engine="loading", reasons=["it is being loaded"])
    with running(control) as api:
        window.size(width, 900)
        window.dark(dark)
        window.open(api.server.url)
        window.wait_for("the disk is full")
        assert window.run("return document.documentElement.scrollWidth") <= width
        assert window.run(CONTRASTS) == []


CONTRASTS = r"""
const rgb = (text) => text.match(/[\d.]+/g).map(Number);
const linear = (v) => (v / 255 <= 0.03928 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => [r, g, b].map(linear)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
function behind(node) {
  for (let at = node; at; at = at.parentElement) {
    const colour = rgb(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.9) return colour;
  }
  return [255, 255, 255];
}
const poor = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !node.checkVisibility()) continue;
  const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${node.textContent.trim()}: ${ratio.toFixed(2)}`);
}
return poor;
"""


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for name in page.FILES.values():
        text = (page.HERE / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://[^\s\"'`]+", text) == [], name
    assert {path.name for path in Path(page.HERE).iterdir() if path.suffix in page.TYPES} == set(page.FILES.values())
