"""The daemon takes a new configuration over, or keeps the old one."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from stream_guard.daemon.settings import DaemonSettings, StreamSettings
from stream_guard.errors import ConfigError

from .fake_daemon import Make, phase, samples, settings, stream
from .support import until


def test_a_reload_replaces_only_what_changed(make: Make, tmp_path: Path) -> None:
    daemon = make(stream("same"), stream("changed"), stream("gone"))
    for name in ("same", "changed", "gone"):
        phase(daemon, name, "running")
    since = daemon.stream("same").started
    new = settings(tmp_path, stream("same"), stream("changed", stall=9.0), stream("fresh"))
    assert daemon.reload(lambda: new)
    until(lambda: {s.name for s in daemon.streams()} == {"same", "changed", "fresh"}, "the new streams")
    for name in ("same", "changed", "fresh"):
        phase(daemon, name, "running")
    assert daemon.stream("same").started == since
    assert daemon._streams._streams["changed"].settings.stall == 9.0
    assert samples(daemon)["stream_guard_configuration_reload_success"] == 1


def test_a_reload_tries_failed_streams_again(make: Make, tmp_path: Path) -> None:
    daemon = make(stream("one", "fail"), stream("two", "end"))
    first = phase(daemon, "one", "failed").started
    phase(daemon, "two", "ended")
    assert daemon.reload(lambda: settings(tmp_path, stream("one", "fail"), stream("two", "end")))
    assert daemon.stream("one").started > first
    phase(daemon, "one", "failed")
    assert daemon.stream("two").phase == "ended"


def test_streams_that_new_rules_would_refuse_run_on_and_are_named(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = make(urls={"hosts": ["127.0.0.0/8"]})
    for name, output in (("kept", "rtmp://127.0.0.1/protected/key"), ("loose", "rtmp://127.0.0.2/protected/key")):
        daemon.start_stream(StreamSettings.model_validate(stream(name, outputs=[{"url": output}])))
        phase(daemon, name, "running")
    assert daemon.reload(lambda: settings(tmp_path, urls={"hosts": ["127.0.0.1"]}))
    told = [record.getMessage() for record in caplog.records if "any longer" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("stream=loose configuration: not allowed any longer, and runs on until")
    assert "the host '127.0.0.2' is not" in told[0]
    assert "key" not in told[0]
    assert [state.phase for state in daemon.streams()] == ["running", "running"]
    daemon.drain()
    events = [event for event in daemon.events() if event is not None and event.kind == "configuration"]
    assert [event.stream for event in events] == ["loose", ""]
    assert told[0].endswith(events[0].message)


def test_what_waits_for_the_next_start_is_told_with_each_reload_until_it_is_taken_back(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = make()
    at_first = daemon.settings
    told = []
    for new in (settings(tmp_path, http={"port": 9}), settings(tmp_path, http={"port": 9}), at_first):
        caplog.clear()
        assert daemon.reload(partial(DaemonSettings.model_copy, new))
        told.append("new settings of http take effect with the next start" in caplog.text)
    assert told == [True, True, False]


def test_new_tokens_hold_at_once_and_are_never_taken_away_altogether(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = ({"name": name, "role": "read", "sha256": name[0] * 64} for name in ("alpha", "beta"))
    daemon = make(http={"tokens": [one]})
    with caplog.at_level(logging.INFO):
        for tokens in ([two], [two], []):
            assert daemon.reload(partial(settings, tmp_path, http={"tokens": tokens}))
            assert [token.name for token in daemon.tokens] == ["beta"]
    told = [record.getMessage() for record in caplog.records if record.name.endswith(".daemon")]
    assert told == [
        "the configuration was reloaded: tokens: beta",
        "the configuration was reloaded: no stream changed",
        "http.tokens is empty: the tokens from before are asked for until the next start",
        "the configuration was reloaded: no stream changed",
    ]


@pytest.mark.parametrize("error", [ConfigError("x.yaml:3:1: unknown key 'strems'"), KeyError("nobody foresaw this")])
def test_a_bad_reload_keeps_the_old_and_says_why(
    make: Make, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    daemon = make(stream("one"))
    phase(daemon, "one", "running")

    def bad() -> DaemonSettings:
        raise error

    assert not daemon.reload(bad)
    assert daemon.stream("one").phase == "running"
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) == isinstance(error, KeyError)
    assert samples(daemon)["stream_guard_configuration_reload_success"] == 0
    daemon.drain()
    told = [event for event in daemon.events() if event is not None and event.kind == "configuration"]
    assert [event.data for event in told] == [{"success": False}]
