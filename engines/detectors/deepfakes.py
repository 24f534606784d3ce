"""Frames of real deepfake videos and of their originals, as a detector sees them; they lie in the pack.

Few of them can be had, so that most only measure: the pair of one person trains, everyone else is held out. Arrays of
the pack: `deepfake_jpeg` (bytes end to end), `deepfake_jpeg_end`, `deepfake_of` (the clip of each frame),
`deepfake_names` and `deepfake_fake` (1: a deepfake, 0: an original).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.errors import EngineError
from stream_guard.media import pixels
from stream_guard.types import Box, guard_region

from ..data.clips import SUFFIXES, spaced_frames, videos_in
from ..data.pack import UNREADABLE, arrays_of, decode_image, encode_image, split_parts

SIZE = 192
FRAMES = 16
QUALITY = 90
FOLDERS = {"fake": True, "fake_originals": False}
TRAINING = ("videos_519",)
"""Clips whose names contain one of these may be trained on: a FaceForensics++ fake and its original."""

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DeepfakeClip:
    """`frames` (T, SIZE, SIZE, 3) uint8 RGB guard regions of one clip, evenly spaced.

    `face_px` is the side of the faces' boxes in the video, the median over the frames; 0 where nobody kept it.
    """

    name: str
    fake: bool
    frames: Rgb
    face_px: int = 0

    @property
    def split(self) -> str:
        return "train" if any(part in self.name for part in TRAINING) else "test"


def collect(
    clips: Path, detect: Callable[[Rgb], Box | None], size: int = SIZE, count: int = FRAMES
) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays for `pack.build`'s `extra` from the folders `fake` and `fake_originals` of `clips`.

    Raises EngineError where neither holds a clip with a face.
    """
    found = []
    for folder, fake in FOLDERS.items():
        for path in videos_in(clips / folder) if (clips / folder).is_dir() else ():
            frames = [frame for frame, _ in _heads(path, detect, size, count)]
            if frames:
                found.append(DeepfakeClip(path.stem, fake, np.stack(frames)))
    if not found:
        raise EngineError(f"no clip with a face in {' or '.join(str(clips / folder) for folder in FOLDERS)}")
    jpeg = [encode_image(Image.fromarray(frame), "JPEG", quality=QUALITY) for clip in found for frame in clip.frames]
    return {
        "deepfake_jpeg": np.frombuffer(b"".join(jpeg), np.uint8),
        "deepfake_jpeg_end": np.cumsum([len(b) for b in jpeg]),
        "deepfake_of": np.repeat(np.arange(len(found), dtype=np.uint16), [len(clip.frames) for clip in found]),
        "deepfake_names": np.array([clip.name for clip in found]),
        "deepfake_fake": np.array([clip.fake for clip in found], np.uint8),
    }


def real_videos(
    folders: Sequence[Path], detect: Callable[[Rgb], Box | None], size: int = SIZE, count: int = FRAMES
) -> list[DeepfakeClip]:
    """Frames of the real videos in some folders, for measuring: nobody in them was trained on.

    Raises EngineError for no folder, and where one holds no video with a face.
    """
    clips = []
    for folder in folders:
        heads = {path.stem: list(_heads(path, detect, size, count)) for path in videos_in(folder)}
        found = [_real(name, seen) for name, seen in heads.items() if seen]
        if not found:
            raise EngineError(f"no video with a face in {folder}; videos end in {', '.join(SUFFIXES)}")
        clips += found
    return clips


def _real(name: str, seen: Sequence[tuple[Rgb, float]]) -> DeepfakeClip:
    frames, sides = zip(*seen, strict=True)
    return DeepfakeClip(name, False, np.stack(frames), round(float(np.median(sides))))


def read(path: Path, splits: Sequence[str] = ("train", "test")) -> list[DeepfakeClip]:
    """The clips of a pack; none where it was packed without. Raises EngineError if unreadable."""
    try:
        data = arrays_of(path, "deepfake_")
        if "deepfake_jpeg" not in data:
            return []
        parts = split_parts(data["deepfake_jpeg"], data["deepfake_jpeg_end"])
        frames = np.stack([np.asarray(decode_image(part)) for part in parts])
        clips = [
            DeepfakeClip(str(name), bool(fake), frames[data["deepfake_of"] == k])
            for k, (name, fake) in enumerate(zip(data["deepfake_names"], data["deepfake_fake"], strict=True))
        ]
    except UNREADABLE as error:
        raise EngineError(f"{path} holds no readable deepfake clips ({error}); pack them again") from error
    return [clip for clip in clips if clip.split in splits]


def _heads(path: Path, detect: Callable[[Rgb], Box | None], size: int, count: int) -> Iterator[tuple[Rgb, float]]:
    """The guard regions and the sides of the boxes of `count` frames, evenly spaced, where a face is found."""
    for frame in spaced_frames(path, count):
        box = detect(pixels.whole_rgb(frame.picture))
        if box is not None:
            yield pixels.read_rgb(frame.picture, guard_region(box), size), max(box.width, box.height)
