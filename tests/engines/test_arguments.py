"""What no command can work with is refused in words before any work: numbers, places to write to, settings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engines import __main__ as cli
from engines import commands, training
from engines.invocation import invocation
from engines.settings import with_changes
from stream_guard.errors import UsageError

VIDEO = ["evaluate", "magdr-video", "--clips", "none.mp4"]
TRAIN = ["train", "stargan", "--data", "none.pack"]
MAGDR = ["evaluate", "magdr", "--task", "editing", "--data", "d", "--probe", "p", "--target", "t"]
DETECTION = ["evaluate", "detection", "--data", "d", "--fakes", "f", "--work", "w"]
TABLE = ["evaluate", "table8", "--data", "none.pack"]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*TRAIN, "--minutes", "nan"], "--minutes must be 0 or more, got nan"),
        ([*TRAIN, "--minutes", "inf"], "--minutes must be 0 or more, got inf"),
        ([*TRAIN, "--minutes", "-1"], "--minutes must be 0 or more, got -1"),
        ([*DETECTION, "--minutes", "nan"], "--minutes must be 0 or more, got nan"),
        ([*TABLE, "--width", "0"], "--width must be 1 or more, got 0"),
        ([*TABLE, "--widths", "128", "-3"], "--widths must be 1 or more, got -3"),
        ([*TABLE, "--faces", "0"], "--faces must be 1 or more, got 0"),
        ([*TABLE, "--seed", "-1"], "--seed must be 0 or more"),
        ([*TABLE, "--trained", "foo"], "--trained takes KIND:NAME=DIR with the kind generator, detector, condition"),
        ([*TABLE, "--trained", "generatr:a=b"], "got 'generatr:a=b'"),
        ([*VIDEO, "--frames", "0"], "--frames must be 1 or more, got 0"),
        (["evaluate", "delivered", "--media", "m", "--strength", "nan"], "--strength must be more than 0, got nan"),
        (["evaluate", "delivered", "--media", "m", "--crf", "52"], "--crf must be 0 or more and at most 51, got 52"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(words, capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "magdr-video", "--clips"],
        ["calibrate-inputs", "--data", "none.pack", "--clips"],
        ["evaluate", "flicker", "--data", "none.pack", "--clips"],
    ],
)
def test_a_clip_that_is_missing_is_said_before_the_others_are_measured(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, missing = tmp_path / "there.mp4", tmp_path / "missing.mp4"
    there.write_bytes(b"no video: nobody looks into it")
    assert f"--clips {missing}: there is no such file or folder" in refused([*words, str(there), str(missing)], capsys)


def test_documented_zeros_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    everyone = ["evaluate", "detectors", "--detectors", "d", "--fakes", "f", "--data", "none.pack", "--faces", "0"]
    for words, said in ((everyone, "--faces"), ([*TABLE, "--bound-faces", "0", "--threads", "0"], "--bound-faces")):
        assert cli.main(words) != 0  # for want of a pack
        assert said not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        VIDEO,
        [*MAGDR, "--work", "w"],
        DETECTION,
        TABLE,
        ["evaluate", "detectors", "--detectors", "d", "--fakes", "f", "--data", "d"],
        ["evaluate", "delivered", "--media", "m"],
        ["calibrate", "--data", "d", "--probe", "p", "--target", "t", "--work", "w"],
        ["calibrate-inputs", "--data", "d"],
        ["purify", "none.mp4", "--detector", "d"],
        ["pack", "--media", "m"],
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_measured(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "file is a file" in refused([*words, "--out", str(tmp_path / "file" / "x.json")], capsys)
    assert "is a folder: name a file in it" in refused([*words, "--out", str(tmp_path)], capsys)


def test_the_folder_of_a_result_is_made_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "no" / "dir" / "x.json"
    seen = []
    monkeypatch.setattr("engines.magdr.video.run", lambda arguments: seen.append(arguments.out.parent.is_dir()))
    assert cli.main(["evaluate", "magdr-video", "--clips", __file__, "--out", str(out)]) == 0
    assert seen == [True]


@pytest.mark.parametrize("command", [[*TRAIN, "--minutes", "1"], ["import", "stargan-probe"]])
def test_a_run_is_no_file(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("")
    assert "run is a file, not a folder" in refused([*command, "--out", str(tmp_path / "run")], capsys)


def test_a_work_folder_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "work").write_text("")
    assert "--work can't be written" in refused([*MAGDR, "--work", str(tmp_path / "work")], capsys)


def test_a_sheet_is_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["sheet", "--data", "none.pack", "--out", str(tmp_path / "x.foo")], capsys)
    assert "name a file that ends in .png or .jpg" in said


def test_results_that_are_none_are_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text("[]")
    said = refused([*MAGDR, "--work", str(tmp_path), "--out", str(tmp_path / "x.json")], capsys)
    assert "is no file of these tables" in said


@pytest.mark.parametrize("name", sorted(commands.trainables()))
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("lr=nan", "lr must be a finite number, got nan"),
        ("lr=inf", "lr must be a finite number"),
        ("lr=0", "lr must be more than 0, got 0"),
        ("lr=-0.1", "lr must be more than 0, got -0.1"),
        ("batch=0", "batch must be 1 or more, got 0"),
        ("seed=-1", "seed must be 0 or more, got -1"),
    ],
)
def test_no_trainer_takes_a_setting_that_cannot_be_meant(name: str, change: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_changes(commands.trainables()[name].Settings(), [change])


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("stargan", 66, "at least 64 and a multiple of 4, got 66"),
        ("ganimation", 33, "at least 64 and a multiple of 4, got 33"),
        ("cyclegan", 33, "at least 32 and a multiple of 4, got 33"),
        ("fomm", 96, "at least 64 and a multiple of 64, got 96"),
        ("vgg16", 31, "at least 32, got 31"),
        ("perturbation", 16, "at least 32, got 16"),
    ],
)
def test_a_size_is_one_that_the_network_can_halve(name: str, size: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_changes(commands.trainables()[name].Settings(), [f"size={size}"])


def test_the_published_settings_are_allowed() -> None:
    made = with_changes(commands.trainables()["cyclegan"].Settings(), ["warm_steps=0", "ngf=64", "ndf=64", "size=256"])
    assert (made.warm_steps, made.size) == (0, 256)
    assert with_changes(commands.trainables()["disrupter"].Settings(), ["per_step=0"]).per_step == 0
    assert with_changes(commands.trainables()["restorer"].Settings(), ["batch=4"]).batch == 4
    with pytest.raises(UsageError, match="multiple of 4"):
        with_changes(commands.trainables()["restorer"].Settings(), ["batch=6"])


def test_a_trainer_says_so_before_it_reads_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "setting size" in refused([*TRAIN, "--minutes", "1", "--set", "size=33"], capsys)


def test_a_device_that_nobody_knows_is_said() -> None:
    with pytest.raises(UsageError, match="no device is called 'gpu'"):
        training.pick_device("gpu")


def test_the_command_is_kept_without_this_machines_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "calibrate",
        "--data=/tmp/a",
        "--alarms",
        "0.01",
        "--clips",
        "/tmp/b/x.mp4",
        "/tmp/b/y z.mp4",
        "--out",
        "/tmp",
    ]
    monkeypatch.setattr(sys, "argv", ["engines", *words, "--other", "/srv/deep/c.txt", "a"])
    said = invocation({Path("/tmp/a"): "PACK", Path("/tmp"): "OUT"}, [Path("/tmp/b/x.mp4"), Path("/tmp/b/y z.mp4")])
    assert said == "python -m engines calibrate --data=PACK --alarms 0.01 --clips CLIPS --out OUT --other c.txt a"
