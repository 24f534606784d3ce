"""The device's picture path on the processor's tensors: the same samples as `pixels` and `perturbation` give."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import pytest

from stream_guard.media import device, pixels
from stream_guard.media.colour import colour_of
from stream_guard.media.layouts import find_layout
from stream_guard.types import Box

from ..support.pictures import noise, paint, raw_samples, soft_colours

torch = pytest.importorskip("torch")

FORMATS = ["nv12", "p010le", "yuv420p", "yuv420p10le", "yuv422p", "yuv444p", "yuvj420p", "nv21"]
COLOURS = [("bt601", False), ("bt601", True), ("bt709", False), ("bt709", True)]
BOXES = [Box(20, 30, 220, 230), Box(250.3, 40.2, 298, 88.1), Box(-30, -20, 19, 29), Box(300, 200, 400, 300)]
"""Larger and smaller than the network's input, across two corners of the picture; none meets another."""
CROP_LEVELS = {"paint": 1, "noise": 3}
WRITTEN_SHARE = 0.001
EPSILON = 8 / 255
SIZE, GRID = 64, 16


def deltas(count: int, seed: int = 0, peak: float = EPSILON) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-peak, peak, (count, 3, GRID, GRID)).astype(np.float32)


def planes(picture: av.VideoFrame) -> device.Planes:
    found = device.planes_of(picture, writable=True)
    assert found is not None
    return found


def tagged_noise(format: str, matrix: str, full: bool) -> av.VideoFrame:
    made = noise(format, 320, 240)
    like = paint(format, 16, 16, matrix=matrix, full=full)
    made.colorspace, made.color_range = like.colorspace, like.color_range
    return made


def painted(format: str, matrix: str, full: bool) -> av.VideoFrame:
    return paint(format, 320, 240, matrix=matrix, full=full)


@pytest.mark.parametrize("make", [painted, tagged_noise], ids=["paint", "noise"])
@pytest.mark.parametrize(("matrix", "full"), COLOURS)
@pytest.mark.parametrize("format", FORMATS)
def test_crops_are_those_of_the_processor(
    format: str, matrix: str, full: bool, make: Callable[..., av.VideoFrame]
) -> None:
    picture = make(format, matrix, full)
    batch = device.read_faces(planes(picture), BOXES, SIZE)
    assert (batch.shape, batch.dtype) == ((len(BOXES), 3, SIZE, SIZE), torch.float32)
    worst = CROP_LEVELS["paint" if make is painted else "noise"]
    for box, crop in zip(BOXES, batch, strict=True):
        expected = pixels.read_rgb(picture, box, SIZE).transpose(2, 0, 1).astype(int)
        error = np.abs(crop.numpy() * 255 - expected)
        assert error.max() <= worst + 1e-3
        assert error.mean() < 0.5


@pytest.mark.parametrize("make", [painted, tagged_noise], ids=["paint", "noise"])
@pytest.mark.parametrize(("matrix", "full"), COLOURS)
@pytest.mark.parametrize("format", FORMATS)
def test_written_samples_are_those_of_the_processor(
    format: str, matrix: str, full: bool, make: Callable[..., av.VideoFrame]
) -> None:
    expected, got = make(format, matrix, full), make(format, matrix, full)
    made = deltas(len(BOXES), peak=0.05)
    for box, delta in zip(BOXES, made, strict=True):
        assert pixels.add_perturbation(expected, box, delta, 1.25, EPSILON)
    assert device.add_deltas(planes(got), BOXES, torch.from_numpy(made), 1.25, EPSILON) == ([True] * 4, [True] * 4)
    before, there, here = raw_samples(make(format, matrix, full)), raw_samples(expected), raw_samples(got)
    for role in there:
        off = np.abs(here[role] - there[role])
        changed = np.count_nonzero(there[role] != before[role])
        assert changed > 1000
        assert off.max() <= 1
        assert np.count_nonzero(off) <= WRITTEN_SHARE * changed


@pytest.mark.parametrize("format", ["nv12", "p010le", "yuv420p"])
def test_overlapping_faces_stay_within_one_budget(format: str) -> None:
    picture = paint(format, 320, 240)
    before = raw_samples(picture)
    boxes = [Box(20, 20, 120, 120), Box(60, 50, 160, 150), Box(80, 20, 140, 80), Box(200, 150, 260, 210)]
    device.add_deltas(planes(picture), boxes, torch.full((4, 3, GRID, GRID), EPSILON), 1.0, EPSILON)
    layout = find_layout(format)
    assert layout is not None
    colour = colour_of(picture, layout)
    assert colour is not None
    for component in layout.components:
        moved = np.abs(raw_samples(picture)[component.role] - before[component.role])
        assert moved.max() == round(EPSILON * colour.span(component))


def test_overlapping_faces_come_out_as_on_the_processor() -> None:
    boxes = [Box(20, 20, 120, 120), Box(60, 50, 160, 150)]
    expected, got = paint("nv12", 320, 240), paint("nv12", 320, 240)
    made = deltas(2)
    kept = pixels.snapshot(expected, boxes[1])
    for box, delta in zip(boxes, made, strict=True):
        pixels.add_perturbation(expected, box, delta, 1.0, EPSILON)
    pixels.hold_budget(expected, kept, EPSILON)
    device.add_deltas(planes(got), boxes, torch.from_numpy(made), 1.0, EPSILON)
    there, here = raw_samples(expected), raw_samples(got)
    for role in there:
        off = np.abs(here[role] - there[role])
        assert off.max() <= 1
        assert np.count_nonzero(off) <= WRITTEN_SHARE * off.size


def test_what_is_not_usable_is_not_written_and_said_face_by_face() -> None:
    picture = paint("nv12", 320, 240)
    before = raw_samples(picture)
    made = torch.from_numpy(deltas(5))
    made[0], made[1, 0, 0, 0], made[2, 2, 3, 3] = 0, float("nan"), float("inf")
    made[3] = 1e-4  # rounds to nothing
    boxes = [*BOXES[:3], Box(20, 30, 120, 130), Box(500, 500, 600, 600)]
    assert device.add_deltas(planes(picture), boxes, made) == (
        [False, False, False, True, True],
        [False, False, False, False, False],
    )
    after = raw_samples(picture)
    assert all(np.array_equal(before[role], after[role]) for role in before)


def test_nothing_outside_the_regions_moves() -> None:
    picture = paint("yuv420p", 320, 240)
    before = raw_samples(picture)["Y"]
    device.add_deltas(planes(picture), BOXES[:1], torch.from_numpy(deltas(1)))
    moved = raw_samples(picture)["Y"] != before
    moved[30:230, 20:220] = False
    assert not moved.any()


def test_a_picture_that_others_refer_to_keeps_its_samples() -> None:
    picture = paint("nv12", 320, 240)
    held = picture.planes[0].__dlpack__()  # a reference to its memory, as a decoder or another picture has
    shared = torch.from_dlpack(held)
    before = shared.clone()
    device.add_deltas(planes(picture), BOXES[:1], torch.from_numpy(deltas(1)))
    assert torch.equal(shared, before)
    assert not np.array_equal(raw_samples(picture)["Y"], before.numpy())


def test_small_copies_are_averages_over_areas() -> None:
    picture = paint("nv12", 640, 480, matrix="bt709", full=False)
    luma = device.small_luma(planes(picture), 160, 120)
    areas = (raw_samples(picture)["Y"].reshape(120, 4, 160, 4).mean((1, 3)) - 16) / 219 * 255
    assert np.abs(luma - areas).max() <= 0.51
    colours = soft_colours(*np.meshgrid(np.arange(640) + 0.5, np.arange(480) + 0.5)) * 255
    error = np.abs(device.small_rgb(planes(picture), 160, 120) - colours.reshape(120, 4, 160, 4, 3).mean((1, 3)))
    assert error.max() <= 4  # half a pixel of chroma; swscale is off by up to 16 here, as it skips chroma rows
    assert error.mean() < 1


@pytest.mark.parametrize("format", ["rgb24", "gray", "gbrp", "yuyv422", "pal8"])
def test_other_formats_are_left_to_the_processor(format: str) -> None:
    picture = av.VideoFrame(64, 48, format)
    assert (device.planes_of(picture) is None) is (format != "yuyv422")


def test_a_picture_is_replaced_by_another() -> None:
    picture, other = paint("p010le", 64, 48), noise("p010le", 64, 48)
    device.overwrite(picture, other)
    assert all(np.array_equal(raw_samples(picture)[r], raw_samples(other)[r]) for r in ("Y", "Cb", "Cr"))
    with pytest.raises(ValueError, match="no picture can be made in the format gray"):
        device.overwrite(av.VideoFrame(64, 48, "gray"), picture)


def test_a_picture_here_is_not_downloaded() -> None:
    picture = paint("nv12", 64, 48)
    assert not device.lies_on_device(picture)
    assert device.to_host(picture) is picture


@pytest.mark.parametrize("format", ["nv12", "p010le"])
def test_planes_that_pyav_shares_are_the_same_as_buffers(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that CUDA pictures take, here with the processor's memory behind PyAV's capsules."""
    expected, got = tagged_noise(format, "bt709", False), tagged_noise(format, "bt709", False)
    made = torch.from_numpy(deltas(len(BOXES)))
    device.add_deltas(planes(expected), BOXES, made)
    monkeypatch.setattr("stream_guard.media.device.planes.lies_on_device", lambda picture: True)
    monkeypatch.setattr("stream_guard.media.device.planes._wait_for_the_decoder", lambda torch: None)
    shared = planes(got)
    assert [tuple(s.shape) for s in shared.samples] == [(240, 320), (120, 160), (120, 160)]
    device.add_deltas(shared, BOXES, made)
    assert all(np.array_equal(raw_samples(got)[role], samples) for role, samples in raw_samples(expected).items())


@pytest.mark.parametrize(("format", "size"), [("nv12", (63, 48)), ("nv12", (64, 47)), ("yuv444p", (64, 48))])
def test_what_pyav_can_not_share_from_a_device_is_told(
    format: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_guard.media.device.planes.lies_on_device", lambda picture: True)
    assert device.planes_of(av.VideoFrame(*size, format)) is None
