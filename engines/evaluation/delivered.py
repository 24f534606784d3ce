"""Measures %dis where it counts: on the decoded, 8-bit, H.264 video of pictures of the test split.

Each held-out still becomes a short clip in which it drifts, with its face box `width` pixels wide. The clip is
perturbed by the runtime's own code, encoded by libx264, decoded, and one predicted frame is cropped and edited by the
generator, as an attacker would. The same clip without a perturbation is the control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from stream_guard.audit.disruption import l2
from stream_guard.audit.interval import share_interval
from stream_guard.audit.probes import Probe
from stream_guard.media import pixels
from stream_guard.media.loopback import h264_frames
from stream_guard.types import Box, guard_region, head_region

from ..disrupter import visible
from ..disrupter.objective import DISRUPTED

ITU709, LIMITED = 1, 1
"""FFmpeg's numbers for the matrix BT.709 and for limited range."""
FRAMES = 6
MEASURED = 4
"""The frame that is looked at: a predicted one, in the middle of its group of pictures."""

Perturb = Callable[[av.VideoFrame, Box], None]
"""Perturbs one face of a picture, in place."""


@dataclass(frozen=True)
class Still:
    """A held-out picture (H, W, 3) and its face."""

    name: str
    rgb: npt.NDArray[np.uint8]
    face: Box


@dataclass
class Tally:
    """Outcomes of one method at one width: L2 per face and condition, and what is seen of it.

    `squared` is the head's squared error in 8 bits before the encoder: the perturbation alone.
    """

    values: list[tuple[str, npt.NDArray[np.float64]]] = field(default_factory=list)
    squared: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    bytes: int = 0

    def summary(self, control: Tally | None = None) -> dict[str, object]:
        flat = np.concatenate([v for _, v in self.values])
        outcomes = [(name, bool(x >= DISRUPTED)) for name, v in self.values for x in v]
        out: dict[str, object] = {
            "pairs": len(flat),
            "disrupted": round(float((flat >= DISRUPTED).mean()), 4),
            "ci95": [round(x, 4) for x in share_interval(outcomes) or ()],
            "l2_mean": round(float(flat.mean()), 4),
            "l2_by_condition": [round(float(x), 4) for x in np.stack([v for _, v in self.values]).mean(0)],
        }
        if control is not None:
            out["face_psnr_db"] = round(float(10 * np.log10(255**2 / max(float(np.mean(self.squared)), 1e-6))), 2)
            out["seen_p95"] = round(float(np.mean(self.seen)), 2)
            out["bitrate_ratio"] = round(self.bytes / control.bytes, 4)
        return out


def clip(still: Still, width: int) -> Iterator[tuple[av.VideoFrame, Box]]:
    """FRAMES pictures of the still scaled so that its face is `width` wide, drifting by a pixel a frame."""
    scale = width / still.face.width
    size = (round(still.rgb.shape[1] * scale), round(still.rgb.shape[0] * scale))
    rgb = np.asarray(Image.fromarray(still.rgb).resize(size, Image.Resampling.LANCZOS))
    padded = np.pad(rgb, ((16, 16), (16, 16), (0, 0)), mode="edge")
    face = Box(*(v * scale + 16 for v in (still.face.x0, still.face.y0, still.face.x1, still.face.y1)))
    height, wide = (v - v % 2 for v in (padded.shape[0] - FRAMES, padded.shape[1] - FRAMES))
    for k in range(FRAMES):
        window = np.ascontiguousarray(padded[k // 2 : k // 2 + height, k : k + wide])
        yield to_bt709(window), face.moved(-k, -(k // 2))


def to_bt709(rgb: npt.NDArray[np.uint8]) -> av.VideoFrame:
    """An RGB picture of even sides as 4:2:0 that says what it is: HD's matrix, limited range, whatever its height."""
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    return tagged(picture.reformat(format="yuv420p", dst_colorspace=ITU709, threads=1))


def tagged(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture marked as BT.709, limited: untagged, a reader would guess from its height."""
    picture.colorspace, picture.color_range = ITU709, LIMITED
    return picture


def measure(
    stills: Sequence[Still], width: int, crf: int, probe: Probe, methods: dict[str, Perturb | None]
) -> dict[str, Tally]:
    """Every method, the control (None) first, on every still, through the same clip, encoder and crop."""
    tallies = {name: Tally() for name in methods}
    for still in stills:
        boxes = [box for _, box in clip(still, width)]
        original = [frame for frame, _ in clip(still, width)][MEASURED]
        head = head_region(boxes[MEASURED])
        clean = pixels.read_rgb(original, head, probe.size)
        pictures = {name: _deliver(still, width, crf, perturb) for name, perturb in methods.items()}
        crops = [pixels.read_rgb(made.decoded, head, probe.size) for made in pictures.values()]
        edits = probe.edit([clean, *crops])
        for k, (name, made) in enumerate(pictures.items()):
            tallies[name].values.append((still.name, l2(edits[k + 1], edits[0])))
            tallies[name].squared.append(_squared_error(original, made.perturbed, head))
            tallies[name].bytes += made.bytes
        decoded = [made.decoded for made in pictures.values()]
        for name, how_much in zip(pictures, _seen(decoded, boxes[MEASURED]), strict=True):
            tallies[name].seen.append(how_much)
    return tallies


@dataclass(frozen=True)
class Delivered:
    """The measured picture before the encoder and after it, and the bytes of the clip."""

    perturbed: av.VideoFrame
    decoded: av.VideoFrame
    bytes: int


def _deliver(still: Still, width: int, crf: int, perturb: Perturb | None) -> Delivered:
    frames = []
    for frame, box in clip(still, width):
        if perturb is not None:
            perturb(frame, box)
        frames.append(frame)
    decoded, size = h264_frames(frames, crf)
    return Delivered(frames[MEASURED], tagged(decoded[MEASURED]), size)


def _seen(pictures: Sequence[av.VideoFrame], face: Box) -> list[float]:
    """For each the colour difference to the first that 95 % of the head's places stay under (`visible.difference`)."""
    guard = guard_region(face)
    rgb = torch.from_numpy(np.stack([pixels.read_rgb(picture, guard, visible.SIZE) for picture in pictures]))
    planes = rgb.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = visible.difference(planes[:1].expand_as(planes), planes)
    return [float(x) for x in found.flatten(1).quantile(0.95, dim=1)]


def _squared_error(a: av.VideoFrame, b: av.VideoFrame, head: Box) -> float:
    x0, y0 = max(0, int(head.x0)), max(0, int(head.y0))
    window = slice(y0, int(head.y1)), slice(x0, int(head.x1))
    difference = pixels.whole_rgb(a)[window].astype(np.float32) - pixels.whole_rgb(b)[window]
    return float(np.square(difference).mean())
