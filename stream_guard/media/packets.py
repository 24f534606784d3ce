"""A file of encoded packets with a record at its end: one segment of a job. It appears under its name when it is whole.

magic, then for each packet: head (pts, dts, duration, flags, size) and payload; then the record as JSON, and
a tail (length of the record, CRC-32 of all before, magic). Numbers are little-endian, times in the file's time base.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from .translate import writing

MAGIC = b"SGSEG01\n"
_HEAD = struct.Struct("<qqqBI")
_TAIL = struct.Struct("<II8s")
_KEY, _DISPOSABLE, _NO_DTS = 1, 2, 4
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """One encoded packet as plain data; times in the encoder's time base."""

    pts: int
    dts: int | None
    duration: int
    key: bool
    disposable: bool
    payload: bytes

    @classmethod
    def of(cls, packet: av.Packet[Any]) -> Stored:
        if packet.pts is None:
            raise ValueError("the encoder gave a packet without a time")
        return cls(
            packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, packet.is_disposable, bytes(packet)
        )

    def packet(self, dts: int, time_base: Fraction) -> av.Packet[Any]:
        made: av.Packet[Any] = av.Packet(self.payload)
        made.pts, made.dts, made.duration, made.time_base = self.pts, dts, self.duration, time_base
        made.is_keyframe = self.key
        return made


class PacketFile:
    """Being written. `finish` makes it durable and gives it its name; `discard` leaves nothing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._temporary = f"{path}.part"
        self._crc = 0
        with writing(path):
            self._file = open(self._temporary, "wb")  # noqa: SIM115
            self._write(MAGIC)

    def add(self, packet: Stored) -> None:
        flags = _KEY * packet.key | _DISPOSABLE * packet.disposable | _NO_DTS * (packet.dts is None)
        with writing(self.path):
            self._write(_HEAD.pack(packet.pts, packet.dts or 0, packet.duration, flags, len(packet.payload)))
            self._write(packet.payload)

    def finish(self, record: dict[str, Any]) -> None:
        words = json.dumps(record).encode()
        with writing(self.path):
            self._write(words)
            self._file.write(_TAIL.pack(len(words), self._crc, MAGIC))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            sync_folder(os.path.dirname(self.path))

    def discard(self) -> None:
        self._file.close()
        if os.path.exists(self._temporary):
            os.unlink(self._temporary)

    def _write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(data)


def read_record(path: str) -> dict[str, Any] | None:
    """The record of a file that is whole to the last bit; None for one that is cut off or damaged."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size - _TAIL.size
            if size < len(MAGIC):
                return None
            crc, words = 0, b""
            while (left := size - file.tell()) > 0 and (data := file.read(min(left, _CHUNK))):
                crc = zlib.crc32(data, crc)
            length, stated, magic = _TAIL.unpack(file.read(_TAIL.size))
            if magic != MAGIC or stated != crc or length > size:
                return None
            file.seek(size - length)
            words = file.read(length)
        record = json.loads(words)
    except (OSError, ValueError, struct.error):
        return None
    return record if isinstance(record, dict) else None


def read_packets(path: str, *, payloads: bool = True) -> Iterator[Stored]:
    """The packets of a file that `read_record` found whole; without `payloads` they are empty, and little is read."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(size - _TAIL.size)
        length, _, _ = _TAIL.unpack(file.read(_TAIL.size))
        end = size - _TAIL.size - length
        file.seek(len(MAGIC))
        while file.tell() < end:
            pts, dts, duration, flags, count = _HEAD.unpack(file.read(_HEAD.size))
            payload = file.read(count) if payloads else b""
            if not payloads:
                file.seek(count, os.SEEK_CUR)
            yield Stored(
                pts, None if flags & _NO_DTS else dts, duration, bool(flags & _KEY), bool(flags & _DISPOSABLE), payload
            )


def sync_folder(path: str) -> None:
    """Make a rename in this folder durable, where the file system can."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:
        return
    finally:
        os.close(number)
