"""The output appears under its name only when it is whole, and nothing is left behind when it is not."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream_guard.errors import ConfigError, ExitCode, OutputRefusedError, SinkError, UnknownNameError, UsageError
from stream_guard.media import EncoderSettings, FileSink, open_source, transcode
from stream_guard.media.atomic import AtomicFile, remove_leftover
from stream_guard.types import Frame
from tests.media.reading import read
from tests.support import media, troubles

QUICK = EncoderSettings(preset="ultrafast", threads=1)
NOBODY = 65534


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return media.plain(tmp_path / "in", frames=12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_nothing_shows_before_the_end(clip: Path, folder: Path) -> None:
    target = folder / "out.mp4"
    with open_source(str(clip)) as source, FileSink(str(target), source, QUICK) as sink:
        for item in source.read():
            assert not target.exists()
            assert all(name.startswith(".stream-guard-") for name in left_in(folder))
            if isinstance(item, Frame):
                sink.write(item)
            else:
                sink.write_packet(item)
        assert not target.exists()
        sink.close()
        assert left_in(folder) == ["out.mp4"]
        assert sink.report.bytes == target.stat().st_size
        sink.close()
        sink.abort()
    assert left_in(folder) == ["out.mp4"], "closing twice and aborting afterwards change nothing"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [0, 7])
def test_an_error_leaves_nothing(error: type[BaseException], after: int, clip: Path, folder: Path) -> None:
    def interrupted() -> None:
        with open_source(str(clip)) as source, FileSink(str(folder / "out.mp4"), source, QUICK) as sink:
            for index, item in enumerate(i for i in source.read() if isinstance(i, Frame)):
                if index == after:
                    raise error
                sink.write(item)

    with pytest.raises(error):
        interrupted()
    assert left_in(folder) == []


def test_an_existing_file_is_replaced_only_when_asked(clip: Path, folder: Path) -> None:
    target = folder / "out.mp4"
    target.write_text("precious")
    target.chmod(0o600)
    with pytest.raises(OutputRefusedError, match="exists; give --overwrite"):
        transcode(str(clip), str(target), QUICK)
    assert target.read_text() == "precious"
    transcode(str(clip), str(target), QUICK, overwrite=True)
    assert len(read(target).video) == 12
    assert target.stat().st_mode & 0o777 == 0o600, "the new file is not open to more people than the old one"
    assert left_in(folder) == ["out.mp4"]


def test_what_is_no_regular_file_is_never_replaced(clip: Path, folder: Path) -> None:
    """Such as /dev/null, by somebody who wants no output."""
    os.mkfifo(folder / "out.mp4")
    with pytest.raises(OutputRefusedError, match="is not a regular file"):
        transcode(str(clip), str(folder / "out.mp4"), QUICK, overwrite=True)
    assert (folder / "out.mp4").is_fifo()
    assert left_in(folder) == ["out.mp4"]


def test_a_new_file_is_open_to_whom_the_umask_says(clip: Path, folder: Path) -> None:
    before = os.umask(0o027)
    try:
        transcode(str(clip), str(folder / "out.mp4"), QUICK)
    finally:
        os.umask(before)
    assert (folder / "out.mp4").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_run_left_is_removed_where_a_link_leads(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "out.mp4").symlink_to(folder / "there" / "real.mp4")
    AtomicFile(str(folder / "out.mp4"), overwrite=False, token="a")
    assert left_in(folder / "there") == [".stream-guard-a.mp4"]
    remove_leftover(str(folder / "out.mp4"), "a")
    assert left_in(folder / "there") == []


def test_a_file_that_appears_meanwhile_is_not_replaced(clip: Path, folder: Path) -> None:
    target = folder / "out.mp4"
    with open_source(str(clip)) as source:
        sink = FileSink(str(target), source, QUICK)
        sink.write(next(item for item in source.read() if isinstance(item, Frame)))
        target.write_text("somebody else's")
        with pytest.raises(OutputRefusedError, match="exists"):
            sink.close()
    assert (left_in(folder), target.read_text()) == (["out.mp4"], "somebody else's")


def test_a_failed_overwrite_keeps_the_old_file(clip: Path, folder: Path) -> None:
    target = folder / "out.mp4"
    target.write_text("precious")
    with open_source(str(clip)) as source:
        sink = FileSink(str(target), source, QUICK, overwrite=True)
        sink.abort()
    assert (left_in(folder), target.read_text()) == (["out.mp4"], "precious")


def test_the_input_is_never_the_output(clip: Path, folder: Path) -> None:
    (folder / "link.mp4").symlink_to(clip)
    os.link(clip, folder / "hard.mp4")
    before = clip.read_bytes()
    for name in (clip, folder / "link.mp4", folder / "hard.mp4", clip.parent / "." / clip.name):
        with pytest.raises(OutputRefusedError, match="is the input itself"):
            transcode(str(clip), str(name), QUICK, overwrite=True)
    assert clip.read_bytes() == before


def test_a_link_to_a_file_is_followed(clip: Path, folder: Path) -> None:
    (folder / "real.mp4").write_text("old")
    (folder / "link.mp4").symlink_to(folder / "real.mp4")
    transcode(str(clip), str(folder / "link.mp4"), QUICK, overwrite=True)
    assert (folder / "link.mp4").is_symlink()
    assert len(read(folder / "real.mp4").video) == 12


def test_places_that_cannot_be_written_are_refused_before_decoding(clip: Path, folder: Path) -> None:
    (folder / "dir.mp4").mkdir()
    cases = {
        folder / "missing" / "out.mp4": "does not exist",
        folder / "dir.mp4": "is a directory",
        folder / "out.xyz": "use one of: .mp4",
        folder / "out": "names no format",
    }
    for path, words in cases.items():
        with open_source(str(clip)) as source, pytest.raises((OutputRefusedError, UsageError), match=words) as caught:
            FileSink(str(path), source, QUICK, overwrite=True)
        assert caught.value.exit_code == ExitCode.USAGE
        assert source.report.frames <= 4, "only the look at the first picture"
    assert left_in(folder) == ["dir.mp4"]


def test_a_name_that_the_system_would_not_take_is_refused_before_decoding(clip: Path, folder: Path) -> None:
    longest = "é" * 125 + "a.mp4"
    cases = {
        folder / f"a{longest}": r"name of the output is 256 bytes long; 255 are allowed there: choose a shorter one",
        folder.joinpath(*["b" * 200] * 25, "out.mp4"): r"path of the output is \d+ bytes long; 4095 are allowed",
    }
    for path, words in cases.items():
        with open_source(str(clip)) as source, pytest.raises(OutputRefusedError, match=words) as caught:
            FileSink(str(path), source, QUICK)
        assert caught.value.exit_code == ExitCode.USAGE
        assert source.report.frames <= 4, "only the look at the first picture"
    with pytest.raises(OutputRefusedError, match="hidden file that becomes the output is 2"):
        AtomicFile(str(folder / f"a.{'x' * 240}"), overwrite=False)
    assert left_in(folder) == []
    transcode(str(clip), str(folder / longest), QUICK)
    assert left_in(folder) == [longest]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_no_permission_to_write(clip: Path, folder: Path) -> None:
    temporary = Path(tempfile.gettempdir())
    for path in [clip.parent, folder, *(p for p in folder.parents if temporary in p.parents)]:
        path.chmod(0o755)
    clip.chmod(0o644)
    with open_source(str(clip)) as source:
        os.seteuid(NOBODY)
        try:
            with pytest.raises(OutputRefusedError, match="permission denied"):
                FileSink(str(folder / "out.mp4"), source, QUICK)
        finally:
            os.seteuid(0)
    assert left_in(folder) == []


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """The system refuses files above `size` bytes, as a full disk refuses the next block."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("size", [0, 20_000])
def test_a_file_that_may_not_grow(suffix: str, size: int, clip: Path, folder: Path) -> None:
    lossless = EncoderSettings(preset="ultrafast", options={"qp": "0"}, threads=1)
    with small_files(size), pytest.raises(SinkError, match="larger than the system allows"):
        transcode(str(clip), str(folder / f"out{suffix}"), lossless)
    assert left_in(folder) == []


def test_a_full_disk(clip: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        lossless = EncoderSettings(preset="ultrafast", options={"qp": "0"}, threads=1)
        with pytest.raises(SinkError, match="no space left on the device"):
            transcode(str(clip), str(place / "out.mp4"), lossless)
        assert left_in(place) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"codec": "libx256"}, UnknownNameError, "unknown video codec 'libx256'; choose one of: .*libx264"),
        ({"preset": "warp"}, UnknownNameError, "unknown preset of libx264 'warp'; choose one of: .*veryfast"),
        ({"crf": 99}, ConfigError, "crf 99 was given; libx264 takes 0 .best. to 51"),
        (
            {"options": {"nonsense": "1"}},
            UsageError,
            "unknown option of libx264 'nonsense'|does not take nonsense as given",
        ),
        ({"options": {"crf": "many"}}, ConfigError, "refuses what was asked for"),
        ({"pix_fmt": "rgb48"}, UnknownNameError, "unknown pixel format of libx264"),
        ({"codec": "gif", "preset": "fast"}, ConfigError, "gif has no presets"),
        ({"codec": "gif", "bit_rate": 10**6}, ConfigError, "gif goes by no bit rate; leave it out"),
        ({"codec": "ffv1", "bit_rate": 10**6}, ConfigError, "ffv1 goes by no bit rate"),
        ({"codec": "prores_ks", "bit_rate": 10**6}, ConfigError, "prores_ks goes by no bit rate"),
        ({"codec": "mpeg4", "crf": 32}, ConfigError, "crf 32 was given; mpeg4 takes 1 .best. to 31"),
        ({"codec": "prores_ks"}, ConfigError, "mp4 does not hold prores video; choose one of: .*libx264"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_decoding(
    asked: dict[str, object], error: type[Exception], words: str, clip: Path, folder: Path
) -> None:
    with open_source(str(clip)) as source, pytest.raises(error, match=words):
        FileSink(str(folder / "out.mp4"), source, EncoderSettings(**asked))  # type: ignore[arg-type]
    assert left_in(folder) == []


@pytest.mark.parametrize("asked", [{"crf": 20, "bit_rate": 1000}, {"bit_rate": 0}, {"gop": 0}, {"threads": -1}])
def test_settings_that_contradict_themselves(asked: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        EncoderSettings(**asked)  # type: ignore[arg-type]


def test_settings_reach_the_encoder(clip: Path, folder: Path) -> None:
    big, small, keys = (folder / f"{n}.mp4" for n in ("big", "small", "keys"))
    transcode(str(clip), str(big), EncoderSettings(crf=5, threads=1))
    transcode(str(clip), str(small), EncoderSettings(crf=40, threads=1))
    transcode(str(clip), str(keys), EncoderSettings(gop=3, threads=1, preset="ultrafast"))
    assert big.stat().st_size > 1.5 * small.stat().st_size
    import av

    with av.open(str(keys)) as container:
        found = [p.is_keyframe for p in container.demux(video=0) if p.size]
    assert found == [i % 3 == 0 for i in range(12)]


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_encoders_that_would_take_a_bit_rate_of_their_own_are_given_a_quality(
    codec: str, clip: Path, folder: Path
) -> None:
    """FFmpeg's 200 kbit/s hold hardly anything of a larger picture."""
    sizes = []
    for number, crf in enumerate((31.0, None, 3.0, 1.0)):
        target = folder / f"{number}.mov"
        transcode(str(clip), str(target), EncoderSettings(codec=codec, crf=crf, threads=1))
        sizes.append(target.stat().st_size)
    worst, usual, three, best = sizes
    assert worst * 2 < usual == three < best


def test_codecs_by_their_common_names(clip: Path, folder: Path) -> None:
    for name, codec in (("h264", "h264"), ("h265", "hevc"), ("vp9", "vp9"), ("mpeg4", "mpeg4"), ("ffv1", "ffv1")):
        target = folder / f"{name}.mkv"
        transcode(str(clip), str(target), EncoderSettings(codec=name, threads=1))
        with open_source(str(target)) as source:
            assert source.info.video.codec == codec
        assert read(target).video == read(clip).video


def test_interlaced_material_in_a_codec_without_fields_is_a_warning(tmp_path: Path) -> None:
    source = troubles.interlaced(tmp_path)
    warnings = transcode(str(source), str(tmp_path / "out.webm"), EncoderSettings(threads=1))[1].warnings
    assert any("interlaced" in w for w in warnings)


def test_an_index_in_front_stays_in_front(tmp_path: Path) -> None:
    clip = media.Clip(frames=5)
    for flags, first in (({"movflags": "faststart"}, b"moov"), ({}, b"mdat")):
        source = media.write(tmp_path / "in.mp4", clip, container=flags)
        transcode(str(source), str(tmp_path / "out.mp4"), QUICK, overwrite=True)
        data = (tmp_path / "out.mp4").read_bytes()
        assert min((data.index(kind), kind) for kind in (b"moov", b"mdat"))[1] == first


def test_hevc_in_mp4_carries_the_name_that_players_know(clip: Path, folder: Path) -> None:
    transcode(str(clip), str(folder / "out.mp4"), EncoderSettings(codec="hevc", threads=1))
    assert b"hvc1" in (folder / "out.mp4").read_bytes()


def test_an_interrupt_while_the_reader_starts_leaves_nothing(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = media.plain(tmp_path, frames=30)
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "stream-guard-decode":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transcode(str(source), str(folder / "out.mp4"), QUICK)
    assert left_in(folder) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    source = media.plain(tmp_path, frames=600, size=(320, 240))
    code = (
        # Started from a background job, a process inherits that this signal is ignored.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from stream_guard.media import transcode, EncoderSettings\n"
        "print('go', flush=True)\n"
        "try: transcode(sys.argv[1], sys.argv[2], EncoderSettings(preset='placebo', threads=1))\n"
        "except KeyboardInterrupt: sys.exit(4)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(source), str(folder / "out.mp4")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "go\n"
        deadline = time.monotonic() + 30
        while not left_in(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        try:
            assert child.wait(timeout=60) == 4
        finally:
            child.kill()
    assert left_in(folder) == []
