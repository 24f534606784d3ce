"""Pipelines: what is taken, and the exact words and places of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.config import OnFailure, Override, check, load_pipeline, parse_set, pipelines_dir
from stream_guard.document import parse_document
from stream_guard.errors import ConfigError, UnknownNameError, UsageError
from stream_guard.stages.registry import Registry, StageEntry

FAKES = "tests.support.fakes"
REGISTRY = Registry(
    {
        "find": StageEntry("find", f"{FAKES}:FindOne", "the tests"),
        "protect": StageEntry("protect", f"{FAKES}:ProtectAll", "the tests"),
        "troubled": StageEntry("troubled", f"{FAKES}:Troubled", "the tests"),
        "broken": StageEntry("broken", f"{FAKES}:NoSuchStage", "a plugin 1.0"),
    }
)
GOOD = """\
name: mine
description: a test
stages:
  - find
  - protect: {miss: [3]}
  - troubled:
      how: lose
on_failure: black
queue: 3
"""


def read(text: str, *overrides: Override):
    return check(parse_document(text, "p.yaml"), overrides, REGISTRY)


def mistakes(text: str, *overrides: Override) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    return str(caught.value).split("\n")


def test_a_good_pipeline_is_read_whole() -> None:
    config = read(GOOD)
    assert (config.name, config.description, config.queue) == ("mine", "a test", 3)
    assert config.on_failure is OnFailure.BLACK
    assert [s.name for s in config.stages] == ["find", "protect", "troubled"]
    assert config.stages[1].options.miss == (3,)
    assert config.stages[2].options.how == "lose"
    assert config.protects
    built = config.stages[2].build()
    assert built.options is config.stages[2].options


def test_what_is_left_out_has_a_default() -> None:
    config = read("name: mine\nstages: [find]\n")
    assert (config.on_failure, config.queue, config.protects) == (OnFailure.BLOCK, 8, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: mine\nstages:\n  - find\n  - protect: {mis: [1]}\n",
            "p.yaml:4:15: unknown option 'mis' of stage 'protect'; did you mean 'miss'? allowed: miss",
        ),
        (
            "name: mine\nstages:\n  - fin\n",
            "p.yaml:3:5: unknown stage 'fin'; did you mean 'find'? allowed: find, protect, troubled, broken",
        ),
        (
            "name: mine\nstages:\n  - troubled:\n      at: soon\n",
            "p.yaml:4:7: at: got 'soon'; it should be a valid integer, unable to parse string as an integer",
        ),
        (
            "name: mine\nstages:\n  - protect:\n      miss: [1, two]\n",
            "p.yaml:4:17: miss.1: got 'two'; it should be a valid integer, unable to parse string as an integer",
        ),
        (
            "name: mine\nstages: [find]\non_failure: blok\n",
            "p.yaml:3:1: on_failure: got 'blok'; allowed: 'block', 'black', 'pass' or 'disconnect'",
        ),
        ("name: mine\nstages: [find]\nqueue: 0\n", "p.yaml:3:1: queue: got 0; it should be greater than or equal to 1"),
        ("stages: [find]\n", "p.yaml:1:1: pipeline needs 'name'"),
        ("name: mine\n", "p.yaml:1:1: pipeline needs 'stages'"),
        (
            "name: mine\nstages: []\n",
            "p.yaml:2:1: stages: got []: List should have at least 1 item after validation, not 0",
        ),
        ("name: mine\nstages: find\n", "p.yaml:2:1: stages: got 'find'; it should be a valid list"),
        (
            "name: mine\nstage: [find]\nstages: [find]\n",
            "p.yaml:2:1: unknown option 'stage' of pipeline; did you mean 'stages'? "
            "allowed: name, description, stages, on_failure, queue",
        ),
        (
            "name: mine\nstages:\n  - {find: {}, protect: {}}\n",
            "p.yaml:3:5: a stage is a name, or one name with its options (faces: {every: 8}); "
            "got {'find': {}, 'protect': {}}",
        ),
        (
            "name: mine\nstages:\n  - find: [1]\n",
            "p.yaml:3:5: the options of 'find' are a mapping; got [1]",
        ),
        (
            "name: mine\nname: yours\nstages: [find]\n",
            "p.yaml:2:1: 'name' is given twice; the first is at p.yaml:1:1",
        ),
        (
            "name: &x mine\nstages: [find]\ndescription: *x\n",
            "p.yaml:1:7: anchors and aliases (&, *) have no use here",
        ),
        ("name: mine\nstages: [find\n", "p.yaml:3:1: not valid YAML: while parsing a flow sequence, "),
        ("- find\n", "p.yaml:1:1: a pipeline is a mapping with name and stages; got list"),
        ("", "p.yaml: a pipeline is a mapping with name and stages; got nothing"),
        ("1: mine\n", "p.yaml:1:1: a key is a plain word here; put quotes around it if it is meant as one"),
        (
            "name: 2024-13-45\nstages: [find]\n",
            "p.yaml:1:7: not valid YAML: this cannot be read as a value of the kind 'timestamp'; put quotes around it "
            "if it is meant as text",
        ),
        ("name: mine\nqueue: !!int ''\n", "p.yaml:2:8: not valid YAML: this cannot be read as a value of the kind"),
        ("name: " + "[" * 2000, "p.yaml: lists and mappings lie more than 64 deep in one another"),
        (
            "name: mine\nstages: [broken]\n",
            f"p.yaml:2:10: stage 'broken' of a plugin 1.0 ({FAKES}:NoSuchStage) cannot be loaded: AttributeError: "
            f"module '{FAKES}' has no attribute 'NoSuchStage'; update or uninstall what provides it",
        ),
    ],
)
def test_each_mistake_names_its_place(text: str, expected: str) -> None:
    found = mistakes(text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_all_mistakes_come_at_once() -> None:
    text = "name: mine\nstages:\n  - fin\n  - troubled: {att: 1, how: 3}\nqueue: many\n"
    places = [line.split(" ")[0] for line in mistakes(text)]
    assert sorted(places) == ["p.yaml:3:5:", "p.yaml:4:16:", "p.yaml:4:24:", "p.yaml:5:1:"]


def test_overrides_apply_on_top_of_the_file() -> None:
    config = read(
        GOOD, Override("troubled.at", 7, "--set troubled.at=7"), Override("on_failure", "pass", "--on-failure")
    )
    assert config.stages[2].options.at == 7
    assert config.stages[2].options.how == "lose"
    assert config.on_failure is OnFailure.PASS


def test_an_override_of_every_stage_that_has_the_option() -> None:
    config = read(GOOD, Override("*.at", 9, "--at 9"))
    assert config.stages[2].options.at == 9
    assert mistakes(GOOD, Override("*.engine", "x", "--engine x")) == [
        "--engine x: the pipeline has no stage with the option 'engine'; its stages: find, protect, troubled"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("troubled.at=soon", "--set troubled.at=soon: at: got 'soon'; it should be a valid integer, "),
        ("troubled.at=true", "--set troubled.at=true: at: got True; it should be a number, not true or false"),
        ("queue=false", "--set queue=false: queue: got False; it should be a number, not true or false"),
        ("troubled.how=on", "--set troubled.how=on: how: got True; it should be text: put it in double quotes, "),
        ("troubled.how=7", "--set troubled.how=7: how: got 7; it should be text: put it in double quotes, "),
        ("protect.mis=[1]", "--set protect.mis=[1]: unknown option 'mis' of stage 'protect'; did you mean 'miss'?"),
        ("blur.size=3", "--set blur.size=3: the pipeline has no stage 'blur'; its stages: find, protect, troubled"),
        (
            "on_failure=blok",
            "--set on_failure=blok: on_failure: got 'blok'; allowed: 'block', 'black', 'pass' or 'disconnect'",
        ),
        ("protect.miss=[one]", "--set protect.miss=[one]: miss.0: got 'one'; it should be a valid integer"),
        ("stages=[find]", "--set stages=[find]: the stages themselves are set in the pipeline file (--pipeline)"),
    ],
)
def test_a_wrong_override_is_reported_as_it_was_typed(text: str, expected: str) -> None:
    found = mistakes(GOOD, parse_set(text))
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "value"), [("a.b=2", 2), ("a.b=true", True), ("a.b=x=y", "x=y"), ("a.b=", None), ("a.b=[1, 2]", [1, 2])]
)
def test_set_values_are_yaml(text: str, value: object) -> None:
    override = parse_set(text)
    assert (override.key, override.value) == ("a.b", value)


UNREADABLE = ("a.b=[1", "a.b=2024-13-45", "a.b=!!bool maybe", "a.b=!!int ''", "a.b=!!timestamp x", "a.b=" + "[" * 2000)


@pytest.mark.parametrize("text", ["a.b", "=2", *UNREADABLE])
def test_a_set_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_set(text)


def test_files_that_are_no_pipelines(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff\xfe")
    (tmp_path / "large.yaml").write_bytes(b"#" * (2 << 20))
    for name, words in (
        ("missing.yaml", "cannot read the pipeline .*No such file"),
        ("binary.yaml", "not a text file in UTF-8"),
        ("large.yaml", "this is not a pipeline file"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_pipeline(str(tmp_path / name))
    with pytest.raises(ConfigError, match="Is a directory"):
        load_pipeline(f"{tmp_path}/")


def test_an_unknown_bundled_pipeline_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown pipeline .*'protct'; choose one of: .*protect"):
        load_pipeline("protct")


@pytest.mark.parametrize("path", sorted(pipelines_dir().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_bundled_pipeline_is_valid_and_named_after_its_file(path: Path) -> None:
    config = load_pipeline(path.stem)
    assert config.name == path.stem
    assert config.description


@pytest.mark.parametrize(
    ("stages", "place", "said"),
    [
        ("[disrupt]", "2:10", "nobody has looked for faces before 'disrupt': put the stage 'faces' before it"),
        ("[detect, faces, disrupt]", "2:10", "nobody has looked for faces before 'detect'"),
        ("[faces, disrupt, faces]", "2:26", "'faces' finds faces anew that 'disrupt' has protected"),
        ("[faces, disrupt, disrupt]", "2:26", "'disrupt' after 'disrupt' would perturb each face twice"),
        ("[faces, disrupt, magdr: {mode: restore}]", "2:26", "'magdr' would undo what 'disrupt' protects"),
    ],
)
def test_an_order_that_can_not_work_is_refused_before_anything_runs(stages: str, place: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(parse_document(f"name: mine\nstages: {stages}\n", "p.yaml"))
    assert str(caught.value).startswith(f"p.yaml:{place}: {said}")


@pytest.mark.parametrize(
    "stages",
    ["[faces, disrupt, magdr, detect]", "[faces, magdr: {mode: restore}, disrupt]", "[faces, faces, disrupt]"],
)
def test_other_orders_are_taken(stages: str) -> None:
    assert check(parse_document(f"name: mine\nstages: {stages}\n", "p.yaml")).protects
