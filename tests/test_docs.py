"""The generated pages are current, and every option says what it is for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream_guard.config import PipelineSchema
from stream_guard.daemon.configuration import load_settings
from stream_guard.stages.registry import BUILT_IN, StageEntry, describe, describe_options

from .support.fakes import frame

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_generated_pages_are_current() -> None:
    run = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_two_commands_of_the_readme_are_there() -> None:
    block = (DOCS.parent / "README.md").read_text(encoding="utf-8").split("## Two commands")[1].split("```")[1]
    commands = [line.split("#")[0].strip() for line in block.splitlines()[1:] if line]
    assert commands == ["bash .ci/demo", "bash .ci/test"]
    assert all((DOCS.parent / command.split()[1]).is_file() for command in commands)


def test_an_environment_that_was_made_by_half_is_made_again(tmp_path: Path) -> None:
    made = tmp_path / ".venv" / "bin"
    made.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    maker = tmp_path / "python3"
    (made / "python").write_text("#!/bin/sh\n")
    maker.write_text(f'#!/bin/sh\necho "$@" >called\ntouch {made}/pip\necho PATH={made}:$PATH >{made}/activate\n')
    for script in (made / "python", maker):
        script.chmod(0o755)
    command = f". {DOCS.parent / '.ci' / 'venv'}; use_venv dev"
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, env={**os.environ, "PYTHON": str(maker)}, check=True)
    assert (tmp_path / "called").read_text() == "-m venv .venv\n"
    assert (tmp_path / ".venv" / ".installed-dev").is_file()


def test_every_link_of_the_pages_leads_somewhere() -> None:
    pages = [
        DOCS.parent / "README.md",
        DOCS.parent / "CHANGELOG.md",
        *DOCS.parent.glob("deploy/*.md"),
        *DOCS.glob("*.md"),
    ]
    anchors = {
        page: {_anchor(title) for title in re.findall(r"^#+ (.*)$", _text(page), re.MULTILINE)} for page in pages
    }
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", _text(page)):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors[target], f"{page.name}: {link}"


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _anchor(title: str) -> str:
    """As GitHub makes it from a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def test_the_daemon_takes_the_readme_s_file(tmp_path: Path) -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "stream-guard.yaml").write_text(text)
    stream = load_settings(tmp_path / "stream-guard.yaml", {}).streams[0]
    assert (stream.name, stream.on_failure, stream.on_gap) == ("studio", "block", "slate")


def test_the_stage_of_ones_own_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "stages.md").read_text(encoding="utf-8").split("## A stage of one's own")[1]
    (tmp_path / "blur_of_the_docs.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    stage = StageEntry("blur", "blur_of_the_docs:BlurStage", "the docs").load()
    assert 'blur = "your_package.blur:BlurStage"' in page
    assert describe(stage)["options"]["sigma"]["default"] == 2.0
    shown = frame(0)
    assert list(stage().process(shown)) == [shown]


@pytest.mark.parametrize(("name", "target"), BUILT_IN)
def test_every_stage_and_option_is_described(name: str, target: str) -> None:
    described = describe(StageEntry(name, target, "the built-ins").load())
    assert described["description"]
    assert all(option["description"] for option in described["options"].values())


def test_every_key_of_a_pipeline_is_described() -> None:
    assert all(option["description"] for option in describe_options(PipelineSchema).values())
