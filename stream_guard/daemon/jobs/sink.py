"""Where the frames of a job go: one segment file after the other, each encoded on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ...config import OnFailure
from ...media import EncoderSettings
from ...media.info import SinkReport
from ...media.join import SegmentEncoder
from ...media.packets import PacketFile
from ...media.segment import SegmentSource
from ...types import Frame
from .counts import Counts
from .segments import Folder


class SegmentSink:
    """What `pipeline.run` asks of a sink. A segment that is not whole is left out; those before stay."""

    def __init__(
        self,
        folder: Folder,
        source: SegmentSource,
        make_encoder: Callable[[], SegmentEncoder],
        on_failure: OnFailure,
        protects: bool,
        on_segment: Callable[[int, Counts], None],
    ) -> None:
        """`on_segment` is told of each segment, by number, what it counted once it is whole and on the disk."""
        self.report = SinkReport()
        self._folder = folder
        self._source = source
        self._make_encoder = make_encoder
        self._judge = (on_failure, protects)
        self._on_segment = on_segment
        self._number = -1
        self._encoder: SegmentEncoder | None = None
        self._file: PacketFile | None = None
        self._counts = Counts()

    def write(self, frame: Frame) -> None:
        number = self._source.number(frame)
        if number != self._number:
            if self._file is not None:
                self._finish({"number": number, "place": self._source.place(number).to_json()})
            self._number, self._counts = number, Counts()
            self._encoder = self._make_encoder()
            self._file = PacketFile(self._folder.segment(number))
        self._counts.add(frame, *self._judge)
        self._store(frame)
        self.report.frames += 1

    def write_packet(self, packet: Any) -> None:
        """Other streams are copied when the segments are joined."""

    def close(self) -> None:
        self._finish(None)

    def abort(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        if self._file is not None:
            self._file.discard()
        self._encoder = self._file = None

    def _store(self, frame: Frame | None) -> None:
        if self._encoder is not None and self._file is not None:
            for packet in self._encoder.encode(frame):
                self._file.add(packet)
                self.report.bytes += len(packet.payload)

    def _finish(self, following: dict[str, Any] | None) -> None:
        """End the segment; `following` says where the next one begins, None that there is none."""
        if self._encoder is None or self._file is None:
            return
        self._store(None)
        record: dict[str, Any] = {
            "number": self._number,
            "next": following,
            "parameters": self._encoder.parameters,
            "counts": self._counts.to_json(),
            "warnings": self._encoder.warnings,
        }
        if following is None:
            record["source"] = dataclasses.asdict(self._source.report)
            record["truncation"] = self._source.truncation
        self._encoder.close()
        self._file.finish(record)
        self._encoder = self._file = None
        self._on_segment(self._number, self._counts)


def settings_with_threads(settings: EncoderSettings, threads: int) -> EncoderSettings:
    """Threads fixed: encoders write other bits with another number of them."""
    return dataclasses.replace(settings, threads=settings.threads or threads)
