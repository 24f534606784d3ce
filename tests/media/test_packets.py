"""Packets that are kept on disk between the segments of a job; see also `tests/daemon/test_jobs_parts.py`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from stream_guard.media.packets import PacketFile, Stored
from tests.support import troubles


def test_a_packet_comes_back_as_it_was(tmp_path: Path) -> None:
    with av.open(str(troubles.b_frames(tmp_path))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert {packet.is_keyframe for packet in packets} == {True, False}, "players seek by these"
    for packet in packets:
        made = Stored.of(packet).packet(packet.dts, Fraction(packet.time_base))
        for what in ("pts", "dts", "duration", "time_base", "is_keyframe"):
            assert getattr(made, what) == getattr(packet, what), what
        assert bytes(made) == bytes(packet)


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    file = PacketFile(str(tmp_path / "segment"))
    file.add(Stored(0, 0, 1, True, False, b"first"))
    file.discard()
    file.discard()
    assert list(tmp_path.iterdir()) == []
