"""Decide, stream by stream, how what is not protected reaches the output. Nothing is left behind without a word."""

from __future__ import annotations

import contextlib
import io
import mimetypes
from fractions import Fraction
from typing import cast

import av
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.stream import AttachmentStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from .channels import ONLY_ANNOUNCED, OWN_ORDER, add_copy, encodable, is_heard, layout_of, may_be_asked
from .containers import Container
from .formats import has_alpha
from .info import SinkReport
from .labels import label, stream_tags
from .source import Source
from .stills import Guard, StillTrack, guarded
from .tracks import AudioTrack, CopyTrack, SubtitleTrack, Track
from .versions import never_read

_TEXT = "ass ssa subrip srt text mov_text webvtt microdvd mpl2 jacosub sami stl subviewer"
TEXT_SUBTITLES = frozenset(_TEXT.split())
TIMECODE = "timecode"
"""Our name for the timecode track of mov files: FFmpeg has none for its codec."""
FILE_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})


class Carrier:
    """Adds the output streams for one file. `warnings` says what is dropped or encoded anew."""

    def __init__(
        self,
        out: av.container.OutputContainer,
        container: Container,
        source: Source,
        report: SinkReport,
        guard: Guard | None = None,
    ) -> None:
        """`guard` is asked of covers; without one they are copied."""
        self._guard = guard
        self._out = out
        self._container = container
        self._source = source
        self._report = report
        self._said: dict[tuple[str, str, str], tuple[int, list[str]]] = {}
        """By a stream's kind, its codec and the words: where in the warnings they stand, and for which streams."""

    def carry(self, source: Stream) -> Track | None:
        """The track for this stream, or None where nothing is to be written for its packets."""
        if source.type == "attachment":
            self._attach(cast(AttachmentStream, source))
            return None
        if source.type == "audio":
            return self._carry_audio(cast(AudioStream, source))
        if source.type == "subtitle":
            return self._carry_subtitle(cast(SubtitleStream, source))
        if source.type == "video":
            return self._carry_cover(source)
        return self._carry_data(source)

    def _carry_audio(self, source: AudioStream) -> Track | None:
        if source.codec_context is None:
            self._drop(source, "its codec is unknown here")
            return None
        if self._container.audio is None:
            self._drop(source, "the format holds no sound")
            return None
        if not is_heard(source):
            self._drop(source, ONLY_ANNOUNCED)
            return None
        return self._copy(source) or self._encode_audio(source, self._container.audio)

    def _carry_subtitle(self, source: SubtitleStream) -> Track | None:
        if source.codec_context is None:
            self._drop(source, "its codec is unknown here")
            return None
        copied = self._copy(source)
        if copied is not None:
            return copied
        if self._container.subtitle is None:
            self._drop(source, "the format holds no such subtitles")
            return None
        if _codec(source) not in TEXT_SUBTITLES:
            self._drop(source, "the format holds only text subtitles, and these are pictures")
            return None
        return self._encode_subtitle(source, self._container.subtitle)

    def _carry_cover(self, source: Stream) -> Track | None:
        picture = self._source.cover(source.index)
        if self._container.attachments and picture is not None:
            if self._guard is not None and (picture := self._guarded(source, picture, self._guard)) is None:
                return None
            kind = {"mjpeg": "jpeg"}.get(_codec(source), _codec(source))
            # Matroska tells several covers apart by their names, such as small_cover.jpg.
            name = source.metadata.get("filename") or f"cover.{'jpg' if kind == 'jpeg' else kind}"
            self._out.add_attachment(name, f"image/{kind}", picture)
            return None
        if not self._container.cover:
            self._drop(source, "the format holds no cover art")
            return None
        if self._guard is not None and (picture := self._guarded(source, picture, self._guard)) is None:
            return None
        copied = self._copied_or_dropped(source, "the format does not hold this kind of picture")
        return copied if self._guard is None or copied is None or picture is None else StillTrack(copied, picture)

    def _guarded(self, source: Stream, picture: bytes | None, guard: Guard) -> bytes | None:
        """The cover as it may leave; None where it is left out, which the report then says."""
        if source.disposition & Disposition.timed_thumbnails:
            self._drop(source, "its thumbnails are pictures of the video, and only the video itself is protected")
            return None
        still = guarded(_codec(source), picture, source.index, guard)
        if still.payload is None:
            self._drop(source, f"it is a cover, and {still.words}")
        elif still.words:
            self._say(source, f"is a cover, and {still.words}: it is protected and encoded anew")
        return still.payload

    def _carry_data(self, source: Stream) -> Track | None:
        name = _codec(source)
        if name in ("bin_data", "text") and source.container.chapters() and never_read(source):
            return None  # The chapter track of mov files: written anew from the chapters, where they are carried.
        if self._container.format in ("mp4", "mov") and name == TIMECODE:
            return None  # The muxer makes this track from the video's `timecode` tag.
        # mp4 and mov hold what cameras measure beside the picture (GPMF).
        if self._container.format in ("mp4", "mov") or self._container.copies is not None:
            return self._copied_or_dropped(source, "the format does not hold it")
        self._drop(source, "the format does not hold it")
        return None

    def _copied_or_dropped(self, source: Stream, why: str) -> CopyTrack | None:
        copied = self._copy(source)
        if copied is None:
            self._drop(source, why)
        return copied

    def _attach(self, source: AttachmentStream) -> None:
        if not self._container.attachments:
            self._drop(source, "the format holds no attachments")
            return
        kind = source.mimetype or "application/octet-stream"
        if self._guard is not None and _is_picture(kind, source.name):
            self._drop(source, "it is a picture, and nobody knows whether it shows a face")
            return
        added = self._out.add_attachment(source.name or f"attachment-{source.index}", kind, source.data)
        added.metadata.update(source.metadata)

    def _copy(self, source: Stream) -> CopyTrack | None:
        if self._container.copies is not None and _codec(source) not in self._container.copies:
            return None
        if not holds(self._container.format, source):
            return None
        added = add_copy(self._out, source)
        self._label(added, source)
        # Matroska keeps the priming of its own streams by a codec delay that survives the copy.
        keeps_delay = "matroska" in self._source.info.format and self._container.format in ("matroska", "webm")
        opus = _codec(source) == "opus" and self._container.format in ("matroska", "webm")
        from_zero = not self._container.negative_times and not keeps_delay and not opus
        # A line before zero would move all streams up, or make an edit list that FFmpeg itself reads wrong.
        from_zero = from_zero or source.type == "subtitle"
        return CopyTrack(added, self._report, from_zero=from_zero)

    def _encode_audio(self, source: AudioStream, encoder: str) -> AudioTrack | None:
        form = encodable(source, encoder)
        if form is None:
            self._drop(source, f"it can't be copied into that, and {OWN_ORDER}; .mkv or .mov may hold it")
            return None
        rate, layout = form
        added = cast(AudioStream, self._out.add_stream(encoder, rate=rate, layout=layout))
        self._label(added, source)
        folded = f", folded down to {layout}" if layout != layout_of(source) else ""
        # Opus has one rate for all that it encodes, which is no loss.
        changed = f", at {rate} instead of {source.rate} Hz" if encoder != "libopus" and rate != source.rate else ""
        why = f"{self._container.format} does not hold its codec"
        self._say(source, f"is encoded anew as {encoder}{folded}{changed}: {why}")
        # Matroska says how long the lead-in of its streams is.
        from_zero = not self._container.negative_times and self._container.format not in ("matroska", "webm")
        return AudioTrack(source, added, self._report, from_zero=from_zero)

    def _encode_subtitle(self, source: SubtitleStream, encoder: str) -> SubtitleTrack | None:
        source.codec_context.open(strict=False)
        header = source.codec_context.subtitle_header
        added = cast(SubtitleStream, self._out.add_stream(encoder))
        added.codec_context.subtitle_header = header
        added.codec_context.time_base = source.time_base or Fraction(1, 1000)
        self._label(added, source)
        why = f"{self._container.format} does not hold its codec"
        self._say(source, f"is written as {encoder}: {why}; the styling may be simpler")
        return SubtitleTrack(source, added, self._report)

    def _label(self, added: Stream, source: Stream) -> None:
        """Carry tags and disposition of a stream."""
        if lost := label(added, source, self._container.format, stream_tags(source)):
            self._say(source, lost)

    def _drop(self, source: Stream, why: str) -> None:
        self._say(source, f"is left out of the {self._container.format} output: {why}")

    def _say(self, source: Stream, words: str) -> None:
        """Warn of this stream, once for all of its kind and codec: a film may have thirty tracks of subtitles."""
        kind, warnings = (source.type, _codec(source)), self._report.warnings
        place, streams = self._said.setdefault((*kind, words), (len(warnings), []))
        streams.append(f"#{source.index}")
        others = f"; the same goes for {', '.join(streams[1:])}" if len(streams) > 1 else ""
        warnings[place : place + 1] = [f"{kind[0]} stream {streams[0]} ({kind[1]}) {words}{others}"]


def _is_picture(kind: str, name: str | None) -> bool:
    return any(one.startswith("image/") for one in (kind, mimetypes.guess_type(name or "")[0] or ""))


def _codec(source: Stream) -> str:
    if source.codec_context is not None:
        return str(source.codec_context.codec.canonical_name)
    if source.type == "data" and not source.name and "timecode" in source.metadata:
        return TIMECODE
    return str(getattr(source, "name", None) or "unknown")


def holds(format: str, source: Stream) -> bool:
    """Whether the muxer takes the stream as it is: asked by writing a header to nowhere, the only honest answer."""
    if isinstance(source, AudioStream) and not may_be_asked(format, source):
        return False
    trial = av.open(io.BytesIO(), "w", format=format)
    try:
        add_copy(trial, source)
        trial.start_encoding()
    except (ValueError, FFmpegError):
        return False
    finally:
        with contextlib.suppress(FFmpegError):
            trial.close()
    return True


def video_tags(source: Stream, pix_fmt: str) -> dict[str, str]:
    """As `stream_tags`, for a stream that is encoded anew in `pix_fmt`."""
    opaque = not has_alpha(pix_fmt)
    # A player would look for the transparency that this tag promises beside the picture.
    return {k: v for k, v in stream_tags(source).items() if not (opaque and k.lower() == "alpha_mode")}


def file_tags(source: av.container.InputContainer) -> dict[str, str]:
    return {k: v for k, v in source.metadata.items() if k.lower() not in FILE_TAGS}
