"""Talking heads cut from clips: the frames that First Order Motion learns motion from.

Each clip gets one square, the guard region of its median face box, so that the head moves inside it as it does in the
clip. Frames are JPEG, evenly spaced, and lie in the pack beside the stills: `clip_jpeg` (bytes end to end),
`clip_jpeg_end`, `clip_of` (the clip of each frame), `clip_names`, `clip_split` (by person), and where a landmark
network was at hand `clip_landmarks` (T, 66, 2: shares of the square's side, NaN where no face was found).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.errors import EngineError
from stream_guard.media import open_source, pixels
from stream_guard.media.measure import stream_size
from stream_guard.types import Box, Frame, guard_region

from .action_units import POINTS
from .pack import SPLITS, UNREADABLE, Finder, arrays_of, decode_image, encode_image, split_of, split_parts

SIZE = 144
FRAMES = 56
QUALITY = 88
MAX_BYTES = 8 * 2**20
SUFFIXES = (".mp4", ".mpg", ".mkv", ".mov", ".webm", ".gif")

Rgb = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Detector = Callable[[Rgb], Box | None]


@dataclass(frozen=True)
class Clip:
    """`frames` (T, SIZE, SIZE, 3) uint8 RGB of one head, in order; `person` is shared by clips of the same one.

    `landmarks` (T, 66, 2) are shares of the square's side, NaN where no face was found or looked for.
    """

    name: str
    split: str
    frames: Rgb
    landmarks: Points

    @property
    def person(self) -> str:
        return person_of(self.name)


def person_of(name: str) -> str:
    """The name without its clip's number: st_Obama_clip1 and st_Obama_clip3 are one person, lp_d0 and lp_d10 two."""
    return re.sub(r"(_talk\d+)?_clip_?\d+$", "", name)


def collect(
    folder: Path, detect: Detector, finder: Finder | None = None, size: int = SIZE, count: int = FRAMES
) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays for `pack.build`'s `extra`: `count` frames of each clip in the folder in which a face is found.

    Raises EngineError when there is no such clip, and SourceError for one that can't be read.
    """
    clips = [_cut(path, detect, finder, size, count) for path in videos_in(folder)]
    found = [clip for clip in clips if clip is not None]
    if not found:
        raise EngineError(f"no clip with a face in {folder}")
    jpeg = [encode_image(Image.fromarray(f), "JPEG", quality=QUALITY) for clip in found for f in clip.frames]
    if sum(map(len, jpeg)) > MAX_BYTES:
        raise EngineError(f"the clips would take {sum(map(len, jpeg)) / 2**20:.1f} MiB; at most 8: use fewer of them")
    return {
        "clip_jpeg": np.frombuffer(b"".join(jpeg), np.uint8),
        "clip_jpeg_end": np.cumsum([len(b) for b in jpeg]),
        "clip_of": np.repeat(np.arange(len(found), dtype=np.uint16), [len(clip.frames) for clip in found]),
        "clip_names": np.array([clip.name for clip in found]),
        "clip_split": np.array([SPLITS.index(clip.split) for clip in found], np.uint8),
        "clip_landmarks": np.concatenate([clip.landmarks for clip in found]).astype(np.float16),
    }


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder by the ends of their names, in order. Raises EngineError where there is no such folder."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise EngineError(f"no folder of clips at {folder}: {error}") from error


def _cut(path: Path, detect: Detector, finder: Finder | None, size: int, count: int) -> Clip | None:
    """`count` frames of the head, or None where hardly any frame shows a face."""
    chosen = list(spaced_frames(path, count))
    looked = chosen[:: max(1, len(chosen) // 12)]
    boxes = [box for frame in looked if (box := detect(pixels.whole_rgb(frame.picture))) is not None]
    if not boxes or len(boxes) < len(looked) / 2:
        return None
    region = guard_region(_median(boxes))
    heads = [pixels.read_rgb(frame.picture, region, size) for frame in chosen]
    points = np.stack([_points(head, detect, finder) for head in heads])
    return Clip(path.stem, split_of(person_of(path.stem)), np.stack(heads), points)


def spaced_frames(path: Path, count: int) -> Iterator[Frame]:
    """`count` frames of a video, evenly spaced: a long one would not fit in memory."""
    with open_source(str(path), threads=1) as source:
        total = stream_size(str(path), source.info.video.stream).packets
    wanted = set(np.linspace(0, total - 1, count).round().astype(int).tolist())
    with open_source(str(path), threads=1) as source:
        frames = (item for item in source.read() if isinstance(item, Frame))
        yield from (frame for index, frame in enumerate(frames) if index in wanted)


def _points(head: Rgb, detect: Detector, finder: Finder | None) -> Points:
    """(66, 2) as shares of the head's side; NaN without a face or a finder."""
    box = None if finder is None else detect(head)
    side = len(head)
    found = finder(head, (box.x0 / side, box.y0 / side, box.x1 / side, box.y1 / side)) if finder and box else None
    return np.full((POINTS, 2), np.nan, np.float32) if found is None else found


def _median(boxes: Sequence[Box]) -> Box:
    return Box(*(float(v) for v in np.median([(b.x0, b.y0, b.x1, b.y1) for b in boxes], axis=0)))


def read_clips(path: Path, splits: Sequence[str] = SPLITS) -> list[Clip]:
    """The clips of a pack in the given splits; none where it was packed without. Raises EngineError if unreadable."""
    try:
        data = arrays_of(path, "clip_")
        if "clip_jpeg" not in data:
            return []
        jpeg = split_parts(data["clip_jpeg"], data["clip_jpeg_end"])
        return [
            Clip(
                str(name),
                SPLITS[split],
                np.stack([np.asarray(decode_image(jpeg[i])) for i in np.flatnonzero(data["clip_of"] == k)]),
                data["clip_landmarks"][data["clip_of"] == k].astype(np.float32),
            )
            for k, (name, split) in enumerate(zip(data["clip_names"], data["clip_split"], strict=True))
            if SPLITS[split] in splits
        ]
    except UNREADABLE as error:
        raise EngineError(
            f"{path} holds no readable clips ({error}); make a pack with: python -m engines pack --clips FOLDER"
        ) from error
