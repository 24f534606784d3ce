"""Stages arrive by entry point, built-ins and third parties alike; what is broken says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from stream_guard.errors import UnknownNameError, UsageError
from stream_guard.stages.base import Stage, StageOptions
from stream_guard.stages.registry import BUILT_IN, GROUP, StageEntry, describe, discover
from stream_guard.types import Frame

from .support.fakes import Troubled

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


class NoDescription(Stage):
    name = "mine"

    def process(self, frame: Frame) -> list[Frame]:
        return [frame]


class NoProcess(Stage):
    name = "mine"
    description = "does nothing"


class NoOptions(NoDescription):
    description = "takes options of another kind"
    Options = dict  # type: ignore[assignment]


class OddOptions(NoDescription):
    description = "has an option that JSON has no word for"

    class Options(StageOptions):
        made: Callable[[], int] = int


def point(name: str, target: str) -> EntryPoint:
    return EntryPoint(name, target, GROUP)


def test_the_fallback_equals_the_packages_entry_points() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][GROUP] == dict(BUILT_IN)


def test_built_ins_are_there_without_any_metadata() -> None:
    assert discover([]).names == [name for name, _ in BUILT_IN]
    assert discover([]).problems == ()


def test_a_third_partys_stage_is_found_and_loaded() -> None:
    registry = discover([point("troubled", "tests.support.fakes:Troubled")])
    assert registry.load("troubled") is Troubled


def test_an_installed_plugin_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "a_plugin-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nblur = a_plugin_module:Blur\n")
    (tmp_path / "a_plugin_module.py").write_text(
        "from stream_guard.stages.base import Stage\n"
        "class Blur(Stage):\n"
        "    name = 'blur'\n"
        "    description = 'blurs'\n"
        "    def process(self, frame):\n"
        "        return [frame]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry = discover()
    assert registry.entries["blur"].origin == "a-plugin 1.2"
    assert registry.load("blur").description == "blurs"


def test_a_name_that_is_taken_is_ignored_with_a_word() -> None:
    name, target = BUILT_IN[0]
    registry = discover([point(name, "elsewhere:Faces"), point(name, target)])
    assert registry.entries[name].target == target
    assert registry.problems == (
        f"stage {name!r} of an unnamed distribution is ignored: the built-ins took that name first",
    )


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("tests.support.fakes:Nothing", "has no attribute 'Nothing'"),
        ("tests.support.fakes:FakeSink", "not a subclass of stream_guard.stages.base.Stage"),
        ("tests.support.fakes:Troubled", "its class calls itself 'troubled'"),
        (f"{__name__}:NoDescription", "its class has no description"),
        (f"{__name__}:NoProcess", "its class lacks process"),
        (f"{__name__}:NoOptions", "its Options are no subclass of stream_guard.stages.base.StageOptions"),
        (f"{__name__}:OddOptions", "its Options cannot be described: "),
    ],
)
def test_a_broken_plugin_says_what_is_wrong(target: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"stage 'mine' of a plugin 1 .*{words}"):
        StageEntry("mine", target, "a plugin 1").load()


def test_an_unknown_name_lists_every_valid_one() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown stage 'disrup'; choose one of: detect, disrupt, faces"):
        discover([]).load("disrup")


def test_a_stage_describes_its_options() -> None:
    described = describe(Troubled)
    assert described["name"] == "troubled"
    assert described["options"]["at"] == {"type": "integer", "default": 3, "required": False, "description": ""}
