"""`stream-guard engines`: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_guard.cli import app
from stream_guard.inference import BACKENDS, backends

from .support.engines import write_disrupter
from .support.gpu import faked_gpu


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["engines", *arguments])


@pytest.fixture
def engine(tmp_path: Path) -> str:
    return str(write_disrupter(tmp_path, "follows", size=16, grid=8))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with faked_gpu(monkeypatch, tmp_path / "plans") as runtime:
        yield runtime


def test_list_says_what_runs_here_and_why_the_others_do_not() -> None:
    shown = call("list").stdout
    for backend in BACKENDS:
        assert f"backend {backend.name}  (" in shown
        assert backend.why_not() in shown
    assert "backend onnxruntime  (fp32)" in shown
    assert "plans: " in shown


def test_list_as_json_has_the_backends_of_each_engine() -> None:
    listed = json.loads(call("list", "--json").stdout)
    assert {"folder", "count", "bytes"} <= set(listed["plans"])
    for engine in listed["engines"]:
        found = {backend["name"]: backend for backend in engine["backends"]}
        assert list(found) == [backend.name for backend in BACKENDS]
        always = found["onnxruntime"]
        assert (always["usable"], always["auto"], always["why_not"], always["precision"]) == (True, True, "", "fp32")
        assert always["measured"] is None


def test_list_measures_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream_guard.inference import zoo

    (card,) = (card for card in zoo.list_engines() if card.name == "parser")
    monkeypatch.setattr(zoo, "list_engines", lambda folder=None: (card,))
    monkeypatch.setattr(backends, "BACKENDS", tuple(b for b in BACKENDS if b.name in ("tensorrt", "onnxruntime")))
    monkeypatch.setattr("stream_guard.inference.BACKENDS", backends.BACKENDS)
    (engine,) = json.loads(call("list", "--json", "--measure").stdout)["engines"]
    measured = {backend["name"]: backend["measured"] for backend in engine["backends"]}
    assert measured["onnxruntime"]["milliseconds"] > 0
    assert measured["onnxruntime"]["parity"]["max_abs"] == 0
    assert measured["tensorrt"]["milliseconds"] is None or not BACKENDS[0].why_not()
    assert "largest error 0.0e+00" in call("list", "--measure").stdout


def test_build_makes_the_plan_and_says_what_it_costs(machine: Any, engine: str, tmp_path: Path) -> None:
    built = call("build", engine)
    assert built.exit_code == 0, built.output
    assert Path(built.stdout.strip()).parent == tmp_path / "plans"
    assert "100% Building Engine" in built.stderr or "95%" in built.stderr
    assert "the conversion's largest error is" in built.stderr
    again = call("build", engine)
    assert (again.exit_code, again.stdout) == (0, built.stdout)
    assert "Building Engine" not in again.stderr
    other = call("build", engine, "--shapes", "face=2x3x16x16", "--precision", "fp32")
    assert other.exit_code == 0
    assert other.stdout != built.stdout


def test_a_build_that_fails_ends_with_1_and_says_why(
    machine: Any, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BUILD", "memory")
    failed = call("build", engine)
    assert failed.exit_code == 1
    assert "were free; end other programs on it" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["disrupter", "--precision", "bf16"], "choose one of: fp32, fp16, int8"),
        (["disrupter", "--precision", "int8"], "--calibration FOLDER"),
        (["disrupter", "--backend", "openvino"], "only tensorrt compiles"),
        (["disrupter", "--backend", "tensorflow"], "choose one of: onnxruntime, "),
        (["disrupter", "--shapes", "face=3xx4"], "write it as face=8x3x128x128"),
        (["disruptor"], "unknown engine 'disruptor'"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], words: str) -> None:
    refused = call("build", *arguments)
    assert refused.exit_code == 2
    assert words in refused.stderr


def test_without_tensorrt_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    refused = call("build", "disrupter")
    assert refused.exit_code == 1
    assert "pip install 'stream-guard[tensorrt]'" in refused.stderr
