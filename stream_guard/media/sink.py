"""Encode, mux and copy into a file that appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Any

import av

from ..errors import ConfigError, SinkError
from ..types import Frame
from ..wording import counted
from .atomic import AtomicFile
from .carry import Carrier, file_tags, video_tags
from .containers import Container, container_for
from .encoder import VideoTrack
from .info import CopiedPacket, SinkReport
from .labels import label
from .losses import lost_with_pictures, lost_with_stream
from .movie import movie_options
from .palette import gif_loop
from .programs import merged_programs
from .settings import EncoderSettings
from .source import Source
from .stills import Guard
from .timeline import CLOCK_SECONDS
from .tracks import Track
from .translate import is_system, writing


class FileSink:
    """A file being written from one source. A context manager: closes at the end, aborts on an exception.

    The place is checked and the encoder opened here, before a frame is read. Frames keep their own timestamps, packets
    theirs. The constructor raises OutputRefusedError, ConfigError or UnknownNameError; the rest SinkError.
    """

    report: SinkReport

    def __init__(
        self,
        path: str,
        source: Source,
        settings: EncoderSettings | None = None,
        *,
        overwrite: bool = False,
        token: str = "",
        guard: Guard | None = None,
    ) -> None:
        """`token` as AtomicFile takes it; `guard` as Carrier does."""
        self.path = os.fspath(path)
        self.report = SinkReport()
        self._closed = False
        self._guard = guard
        container = container_for(self.path)
        self._file = AtomicFile(self.path, overwrite=overwrite, source=source.path, token=token)
        try:
            with writing(self.path):
                self._out = self._open(container, source)
                self._videos: dict[int, VideoTrack] = {}
                self._tracks: dict[int, Track] = {}
                self._add_streams(container, source, settings or EncoderSettings())
                self._start(container, source)
        except BaseException:
            self.abort()
            raise

    def write(self, frame: Frame) -> None:
        """Encode one frame at its own time. Frames of one stream come in rising order."""
        track = self._videos[frame.stream]
        with writing(self.path):
            for packet in track.encode(frame):
                self._out.mux(packet)
        self.report.frames += 1

    def write_packet(self, copied: CopiedPacket) -> None:
        """Mux one packet of a stream that is not protected; nothing happens for one that the output does not hold."""
        track = self._tracks.get(copied.stream)
        if track is None:
            return
        with writing(self.path):
            for packet in track.write(copied.packet):
                self._out.mux(packet)

    def close(self) -> None:
        """Drain the encoders, finish the file, make it durable and give it its name. Aborts when that fails."""
        if self._closed:
            return
        try:
            if not self.report.frames:
                raise SinkError(f"no frame reached the output {self.path!r}, so nothing was written")
            with writing(self.path):
                self._finish()
            self.report.bytes = self._file.commit()
            self._closed = True
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Leave nothing behind. Safe to call more than once and after close."""
        if self._closed:
            return
        self._closed = True
        out = getattr(self, "_out", None)
        if out is not None:
            with contextlib.suppress(Exception):
                out.close()
        self._file.discard()

    def __enter__(self) -> FileSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _open(self, container: Container, source: Source) -> av.container.OutputContainer:
        tags = file_tags(source.container)
        out = av.open(
            f"file:{self._file.temporary}",
            "w",
            format=container.format,
            metadata_errors="surrogateescape",
            container_options=_muxer_options(container, source, tags),
        )
        out.metadata.update(tags)
        return out

    def _add_streams(self, container: Container, source: Source, settings: EncoderSettings) -> None:
        """In the source's order, so that stream numbers stay where nothing is dropped."""
        infos = {info.stream: info for info in source.info.videos}
        carrier = Carrier(self._out, container, source, self.report, self._guard)
        for stream in source.container.streams:
            if stream.index in infos:
                info, first = infos[stream.index], source.first_picture(stream.index)
                track = VideoTrack(self._out, container, info, first, settings, self.report.warnings)
                tags = video_tags(stream, track.pix_fmt)
                if lost := label(track.stream, stream, container.format, tags):
                    self.report.warnings.append(f"video stream #{stream.index} {lost}")
                encoder = track.stream.codec_context.name
                self.report.warnings += lost_with_pictures(first, encoder, container, tags) + lost_with_stream(stream)
                self._videos[stream.index] = track
                continue
            carried = carrier.carry(stream)
            if carried is not None:
                self._tracks[stream.index] = carried

    def _start(self, container: Container, source: Source) -> None:
        chapters = source.container.chapters()
        if chapters and container.chapters:
            self._out.set_chapters(chapters)
        elif chapters:
            self.report.warnings.append(
                f"{counted(len(chapters), 'chapter is', 'chapters are')} left out: {container.format} holds none"
            )
        if self._out.metadata and not container.tags:
            names = ", ".join(sorted(self._out.metadata))
            self.report.warnings.append(f"the file's tags ({names}) are left out: {container.format} holds none")
        if source.moved_seconds and container.format != "mpegts":
            self.report.warnings.append(
                f"the input's clock starts over {float(source.moved_seconds):.3f} s after its first packet: all times "
                "are moved together so that the output begins at zero; an output in .ts keeps them as they are"
            )
        if merged := merged_programs(source.container, source.path):
            self.report.warnings.append(merged)
        try:
            self._out.start_encoding()
        except av.error.FFmpegError as error:
            if is_system(error):
                raise
            raise ConfigError(
                f"the encoder or the {container.format} format refuses what was asked for ({error.strerror}); "
                "check codec, preset, pixel format and options"
            ) from error
        for name, track in self._videos.items():
            left = track.stream.codec_context.options
            if left:
                raise ConfigError(f"the encoder of stream #{name} does not take {', '.join(left)} as given")
        for carried in self._tracks.values():
            carried.start()

    def _finish(self) -> None:
        for track in self._videos.values():
            self._mux(track.encode(None))
        for carried in self._tracks.values():
            self._mux(carried.finish())
        self._out.close()

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._out.mux(packet)


def _muxer_options(container: Container, source: Source, tags: dict[str, str]) -> dict[str, str]:
    if container.format in ("mp4", "mov", "ipod", "3gp"):
        return movie_options(source, tags)
    if container.format == "mpegts":
        # Times as they are, instead of moved up by the muxer's own delay.
        times = {"mpegts_copyts": "1", "avoid_negative_ts": "disabled"}
        return {**times, **dict(container.options), **_own_clock(source)}
    if container.format == "gif":
        return {"loop": gif_loop(source.path)}
    return {}


def _own_clock(source: Source) -> dict[str, str]:
    """Where the source's times were moved away from the end of its clock: back to it, to the tick."""
    if not source.moved_seconds:
        return {}
    return {"output_ts_offset": f"{round((CLOCK_SECONDS - source.moved_seconds) * 1_000_000)}us"}
