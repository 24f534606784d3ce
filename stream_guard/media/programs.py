"""The programs of a transport stream, read from its own tables: PyAV shows the streams, not which belong together."""

from __future__ import annotations

from collections.abc import Iterator

import av

SEARCHED_BYTES = 2 << 20
"""The tables are repeated several times a second, so they stand near the start."""
SYNC = 0x47
STRIDES = (188, 192, 204)
"""Bytes from packet to packet: plain, with a time before each (.m2ts), with a check sum behind each."""
_PAT, _PMT = 0, 2


def merged_programs(source: av.container.InputContainer, path: str) -> str:
    """A sentence where the input holds several programs, whose streams any output holds as one; else empty."""
    if "mpegts" not in source.format.name.split(","):
        return ""
    with open(path, "rb") as file:
        programs = programs_of(file.read(SEARCHED_BYTES))
    there = {stream.id for stream in source.streams}
    count = sum(not there.isdisjoint(streams) for streams in programs.values())  # A recording may hold one of many.
    if count < 2:
        return ""
    return f"the input holds {count} programs; their streams are written as one, and nothing says which belong together"


def programs_of(data: bytes) -> dict[int, set[int]]:
    """The streams (PIDs) of each program, by its number."""
    tables: dict[int, int] = {}
    programs: dict[int, set[int]] = {}
    for pid, section in _sections(data):
        if pid == 0 and section[0] == _PAT:
            tables |= {table: number for number, table in _pairs(section[8:-4]) if number}
        elif pid in tables and section[0] == _PMT:
            programs.setdefault(tables[pid], set()).update(_streams(section))
    return programs


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tables that begin in this data, each with its PID, as far as their first packet holds them."""
    start, stride = _packets(data)
    for place in range(start, len(data) - 187, stride):
        packet = data[place : place + 188]
        if packet[0] != SYNC or not packet[1] & 0x40:
            continue
        head = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)  # Behind the adaptation field.
        if not packet[3] & 0x10 or head >= 188:
            continue
        begin = head + 1 + packet[head]
        if begin + 12 <= 188:
            length = (packet[begin + 1] & 0x0F) << 8 | packet[begin + 2]
            yield (packet[1] & 0x1F) << 8 | packet[2], packet[begin : begin + 3 + length]


def _packets(data: bytes) -> tuple[int, int]:
    """Where packets begin and their distance."""
    for stride in STRIDES:
        for start in range(min(stride, len(data))):
            if all(data[i] == SYNC for i in range(start, min(len(data), start + 8 * stride), stride)):
                return start, stride
    return len(data), STRIDES[0]


def _pairs(body: bytes) -> Iterator[tuple[int, int]]:
    """Program number and PID of its table."""
    for i in range(0, len(body) - 3, 4):
        yield body[i] << 8 | body[i + 1], (body[i + 2] & 0x1F) << 8 | body[i + 3]


def _streams(section: bytes) -> set[int]:
    found: set[int] = set()
    i = 12 + ((section[10] & 0x0F) << 8 | section[11]) if len(section) > 11 else len(section)
    while i + 4 < len(section):
        found.add((section[i + 1] & 0x1F) << 8 | section[i + 2])
        i += 5 + ((section[i + 3] & 0x0F) << 8 | section[i + 4])
    return found
