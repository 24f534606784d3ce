"""The memory of a run does not grow with the length of the video."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.support import media

CODE = """
import resource, sys
from stream_guard.media import EncoderSettings, transcode
transcode(sys.argv[1], sys.argv[2], EncoderSettings(preset="ultrafast", threads=1))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def looped(clip: Path, target: Path, times: int) -> Path:
    """The clip so many times after itself, without decoding."""
    with av.open(str(target), "w") as out:
        streams = None
        for turn in range(times):
            with av.open(str(clip)) as source:
                streams = streams or [out.add_stream_from_template(s, opaque=True) for s in source.streams]
                for packet in source.demux():
                    if packet.size and packet.pts is not None and (packet.pts >= 0 or not turn):
                        shift = round(turn * Fraction(source.duration, 10**6) / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = streams[packet.stream_index]
                        out.mux(packet)
    return target


def peak_kilobytes(source: Path, target: Path) -> int:
    command = [sys.executable, "-c", CODE, str(source), str(target)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_thirty_minutes_take_no_more_than_one(tmp_path: Path) -> None:
    clip = media.write(tmp_path / "clip.mp4", media.Clip(size=(320, 240), frames=100, options={"bf": "0"}))
    one, thirty = (looped(clip, tmp_path / f"{n}.mp4", 15 * n) for n in (1, 30))
    first, last = peak_kilobytes(one, tmp_path / "a.mkv"), peak_kilobytes(thirty, tmp_path / "b.mkv")
    # The index of the input, about 40 bytes a packet, is all that may come: 5 % of a whole run's 200 MB.
    assert last - first < 10 * 1024
