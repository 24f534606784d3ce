"""The command line: words, exit codes, and what is left on the disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import av
import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from stream_guard import __version__
from stream_guard.cli import app
from stream_guard.errors import ExitCode

from .support import media, plugin, troubles

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder, with the fake stages installed."""
    monkeypatch.syspath_prepend(plugin.install(tmp_path / "site"))
    monkeypatch.setenv("STREAM_GUARD_DEBUG", "")  # what --debug sets ends with the test
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="stream-guard")


def protect(here: Path, source: Path, *more: object, stages: tuple[str, ...] = ("find", "protect")) -> Result:
    pipeline = plugin.write_pipeline(here, *stages)
    return call("protect", source, here / "out.mp4", "--pipeline", pipeline, *more)


def left(here: Path) -> set[str]:
    """What lies in the work folder beside the inputs."""
    return {p.name for p in here.iterdir()} - {"fake.yaml", "plain.mp4", "truncated.mp4", "corrupt.mp4"}


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def test_a_video_is_protected(here: Path) -> None:
    source = media.plain(here)
    result = protect(here, source)
    assert result.exit_code == ExitCode.DONE, result.output
    assert times(here / "out.mp4") == times(source)
    assert result.stdout == ""
    assert re.search(
        r"out\.mp4: 30 pictures, 30 of 30 faces protected, 0 pictures without a face; .* fps", result.stderr
    )
    assert left(here) == {"out.mp4"}


def test_json_is_all_that_stdout_holds(here: Path) -> None:
    result = protect(here, media.plain(here), "--json", "--quiet")
    report = json.loads(result.stdout)
    assert result.stderr == ""
    assert report["output"].endswith("out.mp4")
    assert (report["frames_in"], report["frames_out"], report["protected_faces"]) == (30, 30, 30)
    assert report["source"]["frames"] == 30
    assert report["sink"]["bytes"] == (here / "out.mp4").stat().st_size
    assert report["engines"] == {"protect": {"engine": "fake", "backend": "none"}}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("block", "warning: 2 pictures were replaced (--on-failure block): too_small"),
        ("pass", "warning: 2 pictures left with an unprotected face (too_small)"),
    ],
)
def test_unprotected_faces_are_told(here: Path, policy: str, words: str) -> None:
    result = protect(here, media.plain(here), "--on-failure", policy, "--set", "protect.miss=[3, 4]")
    assert result.exit_code == ExitCode.DONE
    assert words in result.stderr


def test_a_video_without_faces_is_told(here: Path) -> None:
    result = protect(here, media.plain(here, frames=3), "--set", "find.without=[0, 1, 2]")
    assert "no face was found in any picture" in result.stderr


def test_disconnect_ends_at_the_first_face_that_is_unprotected(here: Path) -> None:
    result = protect(here, media.plain(here), "--on-failure", "disconnect", "--set", "protect.miss=[3, 4]")
    assert result.exit_code == ExitCode.ERROR
    assert "the picture at 0.120 s could not be protected (too_small), and on_failure is disconnect" in result.stderr
    assert left(here) == set()


def test_an_existing_output_is_kept(here: Path) -> None:
    source = media.plain(here)
    (here / "out.mp4").write_text("precious")
    result = protect(here, source)
    assert result.exit_code == ExitCode.USAGE
    assert "exists; give --overwrite" in result.stderr
    assert (here / "out.mp4").read_text() == "precious"
    assert protect(here, source, "--overwrite").exit_code == ExitCode.DONE
    assert times(here / "out.mp4") == times(source)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--codec", "h265000"), "unknown video codec 'h265000'; choose one of: "),
        (("--preset", "warp"), "unknown preset of libx264 'warp'; choose one of: fast, faster, medium"),
        (("--crf", "99"), "crf 99 was given; libx264 takes 0 (best) to 51"),
        (("--crf", "20", "--bitrate", "2M"), "give one of them"),
        (("--bitrate", "much"), "--bitrate 'much' is not a bit rate"),
        (("--gop", "0"), "GOP of 0"),
        (
            ("--on-failure", "shrug"),
            "--on-failure shrug: on_failure: got 'shrug'; allowed: 'block', 'black', 'pass' or 'disconnect'",
        ),
        (
            ("--set", "protect.mis=1"),
            "--set protect.mis=1: unknown option 'mis' of stage 'protect'; did you mean 'miss'?",
        ),
        (("--set", "find.every=!!bool maybe"), "--set 'find.every=!!bool maybe': '!!bool maybe' is not a YAML value"),
        (("--engine", "magic"), "--engine magic: the pipeline has no stage 'disrupt'; its stages: find, protect"),
        (("--metrics-port", "9"), "metrics cannot be served on 300.1.1.1:9"),
    ],
)
def test_wrong_options_are_usage_errors_and_start_nothing(here: Path, more: tuple[str, ...], words: str) -> None:
    address = ("--metrics-address", "300.1.1.1") if "--metrics-port" in more else ()
    result = protect(here, media.plain(here), *more, *address)
    assert result.exit_code == ExitCode.USAGE
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert left(here) == set()


@pytest.mark.parametrize("make", [troubles.empty, troubles.text_as_mp4, troubles.audio_only, troubles.headless])
def test_what_is_no_video_is_refused(here: Path, make) -> None:
    result = protect(here, make(here))
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("stream-guard: error: ")
    assert not (here / "out.mp4").exists()


def test_a_missing_input_is_refused(here: Path) -> None:
    result = protect(here, here / "nowhere.mp4")
    assert result.exit_code == ExitCode.USAGE
    assert "nowhere.mp4" in result.stderr
    assert left(here) == set()


def test_a_pipeline_that_protects_nothing_is_refused(here: Path) -> None:
    result = protect(here, media.plain(here), stages=("find",))
    assert result.exit_code == ExitCode.USAGE
    assert "the pipeline 'fake' protects no face (its stages: find)" in result.stderr


def test_a_mistake_in_the_pipeline_names_the_line(here: Path) -> None:
    result = protect(here, media.plain(here), stages=("find", "protct"))
    assert result.exit_code == ExitCode.USAGE
    assert re.search(r"fake\.yaml:5:5: unknown stage 'protct'; did you mean 'protect'\? allowed: ", result.stderr)


@pytest.mark.parametrize("how", ["raise", "open"])
def test_a_failing_stage_leaves_nothing(here: Path, how: str) -> None:
    result = protect(here, media.plain(here), stages=("find", "protect", f"troubled: {{how: {how}}}"))
    assert result.exit_code == ExitCode.ERROR
    expected = {"raise": "stage 'troubled' failed at 0.120 s: the picture is odd", "open": "the network is damaged"}
    assert expected[how] in result.stderr
    assert left(here) == set()


def test_standard_input_is_refused_in_words(here: Path) -> None:
    result = call("protect", "-", here / "out.mp4")
    assert result.exit_code == ExitCode.USAGE
    assert "standard input is not taken" in result.stderr


def test_a_cut_off_input_is_protected_as_far_as_it_goes_and_is_an_error(here: Path) -> None:
    source = troubles.truncated(here)
    result = protect(here, source)
    assert result.exit_code == ExitCode.ERROR
    assert re.search(r"error: the input .* is cut off: .* s are missing; what is there was protected", result.stderr)
    assert 0 < len(times(here / "out.mp4")) < 75


def test_keep_partial_makes_a_cut_off_input_a_success(here: Path) -> None:
    result = protect(here, troubles.truncated(here), "--keep-partial", "--json")
    assert result.exit_code == ExitCode.DONE
    assert "warning: the input" in result.stderr
    report = json.loads(result.stdout)
    assert report["source"]["missing_seconds"] > 0
    assert "is cut off" in report["truncation"]


def test_corrupt_packets_are_counted_and_no_error(here: Path) -> None:
    result = protect(here, troubles.corrupt(here), "--json")
    assert result.exit_code == ExitCode.DONE
    source = json.loads(result.stdout)["source"]
    assert source["corrupt_packets"] + source["corrupt_frames"] > 0
    assert ", concealed as the decoder does" in result.stderr


def test_an_unforeseen_error_asks_for_a_report(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("stream_guard.protect.protect_file", explode)
    result = protect(here, media.plain(here, frames=2))
    assert result.exit_code == ExitCode.ERROR
    assert "unexpected ZeroDivisionError: by accident" in result.stderr
    assert "please report it" in result.stderr
    assert "Traceback" not in result.stderr
    pipeline = plugin.write_pipeline(here, "find", "protect")
    result = call("--debug", "protect", here / "plain.mp4", here / "o.mp4", "--pipeline", pipeline)
    assert "Traceback" in result.stderr


def test_the_version() -> None:
    assert call("--version").stdout == f"stream-guard {__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["protect"], ["protect", "a", "b", "--crf", "x"], ["stages", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == ExitCode.USAGE


def test_stages_lists_plugins_with_their_options(here: Path) -> None:
    text = call("stages").stdout
    assert "troubled  (from fake-stages 1.0)" in text
    assert "(integer; default 3)" in text
    listed = json.loads(call("stages", "--json").stdout)
    assert {"find", "protect", "troubled", "slow"} <= {s["name"] for s in listed["stages"]}


def test_engines_are_listed(here: Path) -> None:
    assert "centerface  (faces" in call("engines", "list").stdout
    cards = json.loads(call("engines", "list", "--json").stdout)["engines"]
    assert {"name", "kind", "licence", "sha256", "present"} <= set(cards[0])


def command(here: Path, *arguments: object, **extra: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(here.parent / "site"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "stream_guard", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=here,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **extra,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_leaves_nothing(here: Path, number: signal.Signals) -> None:
    source = media.plain(here, frames=200)
    pipeline = plugin.write_pipeline(here, "find", "slow", "protect")
    run = command(here, "protect", source, here / "out.mp4", "--pipeline", pipeline, "--metrics-port", 0)
    line = run.stderr.readline()
    address = re.search(r"http://\S+", line)
    assert address, line
    while "stream_guard_frames_out_total 0.0" in urllib.request.urlopen(address[0], timeout=5).read().decode():
        pass
    assert any(name.startswith(".stream-guard-") for name in left(here))
    run.send_signal(number)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out) == (ExitCode.STOPPED, "")
    assert err == "stream-guard: stopped; no output was left\n"
    assert left(here) == set()


def test_an_audit_that_is_terminated_leaves_no_temporary_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = here.parent / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    source = media.plain(here, frames=100)
    run = command(here, "audit", source, source, "--make-reference", "--report", here / "r.html", "--samples", 100)
    while run.poll() is None and not any(name.name.startswith("stream-guard-") for name in scratch.iterdir()):
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out, err) == (ExitCode.STOPPED, "", "stream-guard: stopped\n")
    assert [name.name for name in scratch.iterdir() if name.name.startswith("stream-guard-")] == []
    assert left(here) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_not_the_one_for_which_python_ends_with_130(tmp_path: Path, number: signal.Signals) -> None:
    """In a process of its own, run as a module: there Python looks at what an extension's code let through."""
    words = (
        "import ctypes, signal, sys\n"
        "from stream_guard.commands.stopping import interrupted_by_term\n"
        "run = ctypes.pythonapi.PyRun_String\n"
        "run.restype, run.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_int] + [ctypes.py_object] * 2\n"
        "try:\n"
        "    with interrupted_by_term():\n"
        f"        run(b'import signal; signal.raise_signal({int(number)})', 257, globals(), globals())\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(4)\n"
    )
    (tmp_path / "told.py").write_text(words)
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = [sys.executable, "-m", "told"]
    done = subprocess.run(asked, cwd=tmp_path, env=known, timeout=20, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (ExitCode.STOPPED, "")


def test_metrics_are_served_while_it_runs(here: Path) -> None:
    source = media.plain(here, frames=40)
    pipeline = plugin.write_pipeline(here, "find", "slow", "protect")
    run = command(here, "protect", source, here / "out.mp4", "--pipeline", pipeline, "--metrics-port", 0, "--json")
    address = re.search(r"http://\S+", run.stderr.readline())
    assert address
    page = urllib.request.urlopen(address[0], timeout=5).read().decode()
    assert "# HELP stream_guard_frames_in_total" in page
    assert f'stream_guard_build_info{{version="{__version__}"}} 1.0' in page
    out, err = run.communicate(timeout=30)
    assert run.returncode == ExitCode.DONE, err
    assert json.loads(out)["frames_out"] == 40


def test_help_is_broken_where_the_terminal_ends_alone() -> None:
    """Typer keeps a docstring's own line breaks in every paragraph but the first."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    told = [command.help or "" for name, command in group.commands.items() if name != "engines"]
    assert any("\n\n" in words for words in told)
    assert not [words for words in told if "\n" in words.replace("\n\n", "")]


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, stream_guard.cli; "
        "print([m for m in ('av', 'numpy', 'onnxruntime', 'openvino', 'onnx', 'skimage') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert run.stdout == "[]\n"
