"""The example of the daemon's file, and the page of its settings: complete, true, and good as they stand."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from stream_guard.commands.serve import serve
from stream_guard.daemon import configuration, settings
from stream_guard.daemon.configuration import load_settings
from stream_guard.daemon.settings import DaemonSettings, Section
from stream_guard.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy/stream-guard.yaml"


def test_the_example_says_what_holds_without_it() -> None:
    assert load_settings(EXAMPLE, {}) == DaemonSettings()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(example=True) == ExitCode.DONE
    assert capsys.readouterr().out == EXAMPLE.read_text()


def test_the_examples_in_it_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "check_certificate", lambda tls: None)  # Its files are not there.
    lines: list[str] = []
    before = ""
    for line in EXAMPLE.read_text().splitlines():
        if line.startswith("#| ") and not before.startswith("#| "):
            lines.pop()
        lines.append(line.removeprefix("#| "))
        before = line
    path = tmp_path / "all.yaml"
    path.write_text("\n".join(lines))
    loaded = load_settings(path, {"STUDIO_KEY": "abc", "PUBLISH_TOKEN": "def"})
    assert [stream.name for stream in loaded.streams] == ["studio", "lobby"]
    assert loaded.streams[0].source.endswith("/abc")
    assert loaded.hooks["rtmp"].publish_token == "def"
    assert loaded.http.tokens[0].role == "write"


def test_every_key_is_described_and_on_the_page() -> None:
    page = (ROOT / "docs/daemon.md").read_text()
    for model in (thing for thing in vars(settings).values() if isinstance(thing, type) and issubclass(thing, Section)):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            if model is not settings.JobSettings:
                assert f"| `{name}` | " in page
                assert field.description in page


def test_what_may_hold_a_secret_is_not_printed() -> None:
    hidden = {f"{model.__name__}.{name}" for model, name in _fields(DaemonSettings) if _is_secret(model, name)}
    assert {
        "OutputSettings.url",
        "StreamSettings.source",
        "HookSettings.secret",
        "JobsSection.webhook_secret",
    } <= hidden
    text = "rtmp://127.0.0.1/live/secretkey"
    shown = repr(settings.StreamSettings(name="a", source=text, outputs=(settings.OutputSettings(url=text),)))
    assert "secretkey" not in shown


def _is_secret(model: type[BaseModel], name: str) -> bool:
    return not model.model_fields[name].repr


def _fields(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    for name, field in model.model_fields.items():
        yield model, name
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _fields(kind)
