"""The wheel works outside the checkout: its own pipelines, engines and entry points, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from .support import media

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `stream-guard` of an environment that has the wheel, and the dependencies of the one that runs this."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    # These come after the wheel. An editable install among them works by a .pth file, which is not read here.
    dependencies = [p for p in sys.path if p.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return folder / "bin" / "stream-guard"


def call(installed: Path, cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(installed), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_the_wheel_carries_what_it_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "stream_guard/_bundled/pipelines/protect.yaml" in names
    assert "stream_guard/py.typed" in names
    assert "stream_guard/_bundled/stream-guard.yaml" in names
    assert any(n.startswith("stream_guard/_bundled/zoo/") and n.endswith("/card.toml") for n in names)
    assert {n.split("/")[0] for n in names} == {"stream_guard", wheel.name.split("-py3")[0] + ".dist-info"}
    assert not [n for n in names if n.endswith((".pyc", ".pack"))]


def test_its_stages_come_by_entry_point(installed: Path, tmp_path: Path) -> None:
    run = call(installed, tmp_path, "stages", "--json")
    assert run.returncode == 0, run.stderr
    listed = json.loads(run.stdout)
    assert [s["name"] for s in listed["stages"]][:2] == ["faces", "disrupt"]
    assert listed["problems"] == []


def test_its_engines_are_its_own(installed: Path, tmp_path: Path) -> None:
    run = call(installed, tmp_path, "engines", "list", "--json")
    assert run.returncode == 0, run.stderr
    cards = json.loads(run.stdout)["engines"]
    assert all(card["present"] for card in cards)
    ours = [card["path"] for card in cards if card["kind"] != "faces"]
    assert ours
    assert all(Path(path).is_relative_to(installed.parents[1]) for path in ours)


def test_it_protects_a_video(installed: Path, tmp_path: Path) -> None:
    source = media.plain(tmp_path)
    run = call(installed, tmp_path, "protect", source, "out.mp4", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["frames_out"] == 30
    assert report["engines"]["disrupt"]["sha256"]
    assert (tmp_path / "out.mp4").stat().st_size == report["sink"]["bytes"]
