"""Sound as an encoder takes it, also where its form changes in the middle: a broadcast's does where a film ends."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream


class Resampling:
    """Frames in, those that the encoder of `stream` takes out. PyAV's resampler refuses a second form."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._form: tuple[str, str, int] | None = None
        self._resampler = self._made()

    def feed(self, frame: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
        """What is ready after this frame; None is the end."""
        form = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._form not in (None, form):
            yield from self._fed(None)
            self._resampler = self._made()
        self._form = form
        yield from self._fed(frame)

    def _fed(self, frame: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
        yield from (piece for piece in self._resampler.resample(frame) if piece is not None)

    def _made(self) -> AudioResampler:
        return AudioResampler(self._stream.format, self._stream.layout, self._stream.rate)
