"""Plane arithmetic: what is read is right, what is written keeps the budget, and nothing else moves."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.media.colour import colour_of
from stream_guard.media.layouts import find_layout
from stream_guard.media.pixels import (
    FEATHER,
    Perturbation,
    add_perturbation,
    hold_budget,
    read_rgb,
    small_luma,
    small_rgb,
    snapped,
    snapshot,
    supports,
)
from stream_guard.types import Box

from ..support.pictures import noise, paint, raw_samples, soft_colours

FORMATS = [
    "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuvj420p", "yuvj422p", "yuvj444p", "yuva420p",
    "nv12", "nv21", "nv16", "nv24", "p010le", "p016le", "p210le", "yuv420p10le", "yuv422p10le", "yuv444p10le",
    "yuv420p12le", "yuv422p12le", "yuv444p16le", "yuv420p16be", "yuyv422", "uyvy422",
    "gray", "gray10le", "rgb24", "bgr24", "rgba", "bgra", "argb", "bgr0", "rgb48le", "gbrp", "gbrp10le", "gbrap",
]  # fmt: skip
EPSILON = 8 / 255
# Mean and largest error in 8-bit levels against a float reference. Subsampled chroma: swscale takes it to lie between
# the luma samples, half a pixel off, so steep colour waves differ by more.
TOLERANCE = {"full": (0.6, 2.5), "halved": (1.4, 5.0), "quartered": (3.5, 12.0)}


def a_delta(seed: int = 0, peak: float = EPSILON, grid: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-peak, peak, (3, grid, grid)).astype(np.float32)


def changes(picture: av.VideoFrame, before: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {role: samples - before[role] for role, samples in raw_samples(picture).items()}


def budgets(picture: av.VideoFrame, epsilon: float) -> dict[str, int]:
    layout = find_layout(picture.format.name)
    colour = colour_of(picture, layout)
    return {c.role: round(epsilon * colour.span(c)) for c in layout.components}


def expected_rgb(box: Box, size: int) -> np.ndarray:
    """The painted colours averaged over each of the size x size cells of the box, 0 to 255."""
    fine = (np.arange(size * 4) + 0.5) / (size * 4)
    colours = soft_colours(*np.meshgrid(box.x0 + fine * box.width, box.y0 + fine * box.height))
    return colours.reshape(size, 4, size, 4, 3).mean((1, 3)) * 255


class TestReading:
    @pytest.mark.parametrize(
        ("matrix", "full"), [(None, None), ("bt601", True), ("bt709", False), ("bt2020", None)], ids=str
    )
    @pytest.mark.parametrize("format", [f for f in FORMATS if not f.startswith("gray")])
    def test_the_colours_come_back(self, format: str, matrix: str | None, full: bool | None) -> None:
        picture = paint(format, 321, 241, matrix=matrix, full=full)
        layout = find_layout(format)
        mean, worst = TOLERANCE[{1: "full", 2: "halved", 4: "quartered"}[layout.step_x]]
        for box, size in [(Box(20, 30, 220, 230), 128), (Box(50.3, 40.2, 98, 88.1), 96)]:
            region = snapped(picture, box)
            error = np.abs(read_rgb(picture, box, size) - expected_rgb(Box(*_edges(region)), size))
            assert error.mean() < mean
            assert error[4:-4, 4:-4].max() < worst

    def test_an_untagged_matrix_depends_on_the_height(self) -> None:
        low, high = paint("yuv444p", 64, 700), paint("yuv444p", 64, 720)
        for picture, name in ((low, "bt601"), (high, "bt709")):
            tagged = paint("yuv444p", 64, picture.height, matrix=name)
            box = Box(0, 0, 64, 64)
            assert np.array_equal(read_rgb(picture, box, 64), read_rgb(tagged, box, 64))

    def test_gray_reads_as_gray(self) -> None:
        rgb = read_rgb(paint("gray", 200, 160), Box(10, 10, 150, 150), 64).astype(int)
        assert np.ptp(rgb, axis=2).max() <= 1
        assert rgb.std() > 10

    @pytest.mark.parametrize("format", ["yuv420p", "nv12", "yuyv422", "rgb24", "yuv420p10le"])
    @pytest.mark.parametrize("size", [(97, 63), (64, 64)])
    def test_beyond_the_picture_the_border_repeats(self, format: str, size: tuple[int, int]) -> None:
        if format == "yuyv422":
            size = (size[0] // 2 * 2, size[1])  # packed pairs: the last sample of an odd width is not picture
        picture = paint(format, *size)
        whole = read_rgb(picture, Box(0, 0, *size), 64)
        for box in (Box(-400, -400, -300, -300), Box(500, 500, 600, 600)):
            corner = (0, 0) if box.x0 < 0 else (-1, -1)
            far = read_rgb(picture, box, 16).astype(int)
            assert np.ptp(far, axis=(0, 1)).max() == 0
            assert np.abs(far[0, 0] - whole[corner].astype(int)).max() < 12
        around = read_rgb(picture, Box(-size[0], -size[1], 2 * size[0], 2 * size[1]), 96).astype(int)
        assert np.ptp(around[:24, :24], axis=(0, 1)).max() <= 1
        halved = whole[16:48, 16:48].reshape(16, 2, 16, 2, 3).mean((1, 3))
        assert np.abs(around[40:56, 40:56] - halved).mean() < 4

    def test_reading_changes_nothing(self) -> None:
        picture = noise("yuv420p", 99, 77)
        before, tags = raw_samples(picture), (picture.colorspace, picture.color_range)
        read_rgb(picture, Box(10, 10, 60, 60), 32)
        small_rgb(picture, 32, 32)
        small_luma(picture, 32, 32)
        assert not any(change.any() for change in changes(picture, before).values())
        assert (picture.colorspace, picture.color_range) == tags

    def test_a_small_copy(self) -> None:
        picture = paint("yuv420p", 640, 360)
        small = small_rgb(picture, 160, 96)
        assert small.shape == (96, 160, 3)
        luma = small_luma(picture, 160, 96)
        assert luma.shape == (96, 160)
        assert np.abs(small @ [0.299, 0.587, 0.114] - luma).mean() < 3

    def test_reading_many_sizes_does_not_pile_up_memory(self) -> None:
        resource = pytest.importorskip("resource")
        picture = paint("yuv420p", 640, 360)
        for side in range(40, 140):
            read_rgb(picture, Box(0, 0, side, side), 64)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for round_ in range(1500):
            read_rgb(picture, Box(round_ % 90, 0, round_ % 90 + 40 + round_ % 100, 60), 64)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


class TestWriting:
    @settings(deadline=None, max_examples=150)
    @given(
        format=st.sampled_from(FORMATS),
        width=st.integers(2, 130),
        height=st.integers(2, 130),
        corner=st.tuples(st.floats(-80, 140), st.floats(-80, 140)),
        side=st.floats(1, 200),
        strength=st.floats(0, 2),
        peak=st.sampled_from([EPSILON, 4 * EPSILON]),
        seed=st.integers(0, 3),
    )
    def test_outside_is_untouched_inside_holds_the_budget(
        self,
        format: str,
        width: int,
        height: int,
        corner: tuple[float, float],
        side: float,
        strength: float,
        peak: float,
        seed: int,
    ) -> None:
        picture = noise(format, width, height, seed)
        before = raw_samples(picture)
        box = Box(*corner, corner[0] + side, corner[1] + side)
        changed = add_perturbation(picture, box, a_delta(seed, peak), strength, EPSILON)
        region, layout = snapped(picture, box), find_layout(format)
        moved = changes(picture, before)
        for component in layout.components:
            change = moved[component.role]
            assert np.abs(change).max() <= budgets(picture, strength * EPSILON)[component.role]
            x0, x1 = (max(0, x >> component.sub_x) for x in (region.x0, region.x1))
            y0, y1 = (max(0, y >> component.sub_y) for y in (region.y0, region.y1))
            change[y0:y1, x0:x1] = 0
            assert not change.any()
        assert changed or not any(c.any() for c in changes(picture, before).values())

    @pytest.mark.parametrize("format", [f for f in FORMATS if f not in ("yuv410p",)])
    def test_it_matches_a_plain_float_reference(self, format: str) -> None:
        picture = paint(format, 201, 151, full=False)
        before = raw_samples(picture)
        box, delta = Box(20, 30, 140, 130), a_delta(1, EPSILON / 3)
        assert add_perturbation(picture, box, delta, 1.0, EPSILON)
        layout = find_layout(format)
        region, colour = snapped(picture, box), colour_of(picture, layout)
        for component in layout.components:
            ideal = _reference(component, layout, colour.to_component(delta, component.role), region)
            got = changes(picture, before)[component.role]
            patch = got[
                region.y0 >> component.sub_y : region.y1 >> component.sub_y,
                region.x0 >> component.sub_x : region.x1 >> component.sub_x,
            ]
            assert np.abs(patch - ideal * colour.span(component)).max() <= 0.5 + 1e-3 * colour.span(component) / 255

    @pytest.mark.parametrize("format", ["yuv420p", "yuv420p10le", "nv12", "p010le", "rgb24"])
    def test_the_legal_range_is_kept_and_illegal_samples_are_not_pulled_in(self, format: str) -> None:
        picture = noise(format, 96, 96)
        before = raw_samples(picture)
        layout = find_layout(format)
        colour = colour_of(picture, layout)
        add_perturbation(picture, Box(0, 0, 96, 96), np.full((3, 8, 8), EPSILON, np.float32), 1.0, EPSILON)
        after = raw_samples(picture)
        for component in layout.components:
            low, high = colour.legal(component)
            old, new = before[component.role], after[component.role]
            legal = (old >= low) & (old <= high)
            assert (new[legal] <= high).all()
            assert np.array_equal(new[old > high], old[old > high])
            assert (new[old < low] >= old[old < low]).all()

    @pytest.mark.parametrize("format", ["rgba", "bgra", "yuva420p", "gbrap", "bgr0"])
    def test_alpha_and_padding_stay(self, format: str) -> None:
        picture = av.VideoFrame(64, 64, format)
        for plane in picture.planes:
            np.frombuffer(plane, np.uint8)[:] = 128
        add_perturbation(picture, Box(0, 0, 64, 64), np.full((3, 8, 8), EPSILON, np.float32))
        fourth = (
            np.frombuffer(picture.planes[3], np.uint8)
            if len(picture.planes) == 4
            else np.frombuffer(picture.planes[0], np.uint8).reshape(64, -1)[:, 3:256:4]
        )
        assert (fourth == 128).all()

    def test_the_low_bits_of_p010_stay_empty(self) -> None:
        picture = noise("p010le", 64, 64)
        add_perturbation(picture, Box(0, 0, 64, 64), a_delta())
        assert not (np.frombuffer(picture.planes[0], "<u2") & 63).any()

    def test_the_border_fades(self) -> None:
        picture = paint("yuv444p", 200, 200)
        before = raw_samples(picture)
        add_perturbation(picture, Box(40, 40, 160, 160), np.full((3, 8, 8), EPSILON, np.float32))
        row = changes(picture, before)["Y"][100]
        assert row[40] == 0
        assert row[100] == round(EPSILON * 219)
        assert (np.diff(row[40:100]) >= 0).all()
        assert row[41] < row[44] < row[49]

    def test_a_bigger_delta_is_cut_to_the_budget(self) -> None:
        picture = paint("yuv444p", 100, 100)
        before = raw_samples(picture)
        add_perturbation(picture, Box(0, 0, 100, 100), np.full((3, 4, 4), 0.5, np.float32), 1.0, EPSILON, feather=0)
        assert {int(np.abs(c).max()) for c in changes(picture, before).values()} == {7}

    def test_nothing_changed_is_said(self) -> None:
        picture = paint("yuv420p", 64, 64)
        box = Box(0, 0, 64, 64)
        assert not add_perturbation(picture, box, np.zeros((3, 8, 8), np.float32))
        assert not add_perturbation(picture, box, a_delta(peak=0.3 / 255))
        assert not add_perturbation(picture, box, a_delta(), strength=0.0)
        assert not add_perturbation(picture, box.moved(200, 0), a_delta())
        assert add_perturbation(picture, box, a_delta())

    @settings(max_examples=40, deadline=None)
    @given(low=st.integers(0, 255), high=st.integers(0, 255), peak=st.integers(0, 126), seed=st.integers(0, 99))
    @pytest.mark.parametrize("range", [1, 2])
    def test_addition_in_bytes_is_addition_held_to_the_range(
        self, range: int, low: int, high: int, peak: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        picture = av.VideoFrame(64, 48, "gray")
        picture.color_range = range
        old = rng.integers(min(low, high), max(low, high) + 1, (48, 64)).astype(np.uint8)
        np.frombuffer(picture.planes[0], np.uint8).reshape(48, -1)[:, :64] = old
        delta = np.stack([rng.uniform(-peak, peak, (64, 64))] * 3).astype(np.float32) / 255
        Perturbation(delta, 1.0, 1.0, feather=0).add(picture, Box(0, 0, 64, 64))
        new = raw_samples(picture)["Y"].astype(int)
        wanted = np.rint(delta[0, :48].astype(np.float64) * (219 if range == 1 else 255))
        lowest, highest = (16, 235) if range == 1 else (0, 255)
        held = np.clip(old + wanted, np.minimum(old, lowest), np.maximum(old, highest))
        assert np.abs(new - held).max() <= 1  # ties of rounding in float32
        assert (new != held).mean() < 0.01

    @pytest.mark.parametrize("format", ["yuv420p", "p010le"])
    @pytest.mark.parametrize("box", [Box(20, 10, 80, 70), Box(-25, -20, 35, 40), Box(90, 70, 150, 130)])
    def test_what_an_empty_border_of_the_grid_leaves_alone(self, format: str, box: Box) -> None:
        """The grid's empty cells are not worked on: the picture is the same as if one of them were next to empty."""
        delta = np.zeros_like(a_delta())
        delta[:, 3:9, 5:12] = a_delta()[:, 3:9, 5:12]
        whole = delta.copy()
        whole[:, 0, 0] = whole[:, -1, -1] = 1e-30
        pictures = [noise(format, 128, 96, 50) for _ in "ab"]
        changed = [add_perturbation(p, box, d, 1.0, EPSILON) for p, d in zip(pictures, (delta, whole), strict=True)]
        assert changed[0] == changed[1]
        first, second = map(raw_samples, pictures)
        assert all((first[role] == second[role]).all() for role in first)

    @pytest.mark.parametrize("format", ["yuv420p", "nv12", "yuv422p10le", "p010le", "rgb24"])
    def test_one_that_is_kept_writes_what_a_new_one_would(self, format: str) -> None:
        kept = Perturbation(a_delta(), 1.0, EPSILON)
        for step, side in ((0, 60), (3, 60), (-40, 60), (100, 60), (5, 90), (6, 60)):
            pictures = [noise(format, 128, 96, step + 50) for _ in "ab"]
            box = Box(20 + step, 10, 20 + step + side, 10 + side)
            assert kept.add(pictures[0], box) == add_perturbation(pictures[1], box, a_delta(), 1.0, EPSILON)
            first, second = map(raw_samples, pictures)
            assert all((first[role] == second[role]).all() for role in first)

    @pytest.mark.parametrize("delta", [np.zeros((8, 8)), np.zeros((1, 8, 8)), np.zeros((3, 8, 4))])
    def test_a_delta_of_another_shape_is_refused(self, delta: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"\(3, G, G\)"):
            add_perturbation(paint("yuv420p", 64, 64), Box(0, 0, 32, 32), delta.astype(np.float32))

    def test_nan_is_refused_before_anything_is_written(self) -> None:
        picture = paint("yuv420p", 64, 64)
        before = raw_samples(picture)
        delta = a_delta()
        delta[0, 3, 3] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            add_perturbation(picture, Box(0, 0, 64, 64), delta)
        assert not any(c.any() for c in changes(picture, before).values())

    def test_two_regions_together_hold_the_budget(self) -> None:
        picture = paint("yuv420p", 128, 96)
        before = raw_samples(picture)
        first, second = Box(0, 0, 80, 80), Box(40, 10, 120, 90)
        kept = snapshot(picture, second)
        for box in (first, second):
            add_perturbation(picture, box, np.full((3, 8, 8), EPSILON, np.float32), 1.0, EPSILON)
        assert changes(picture, before)["Y"].max() > 7
        hold_budget(picture, kept, EPSILON)
        for role, change in changes(picture, before).items():
            assert np.abs(change).max() == budgets(picture, EPSILON)[role]


class TestPictures:
    def test_formats_that_can_not_be_changed_are_named(self) -> None:
        for format in ("pal8", "rgb8", "gbrpf32le", "x2rgb10le", "monow"):
            picture = av.VideoFrame(64, 64, format)
            assert not supports(picture)
            with pytest.raises(ValueError, match=format):
                read_rgb(picture, Box(0, 0, 32, 32), 32)

    def test_a_colour_system_without_luma_and_chroma_is_refused(self) -> None:
        picture = paint("yuv444p", 64, 64)
        picture.colorspace = 8  # YCgCo
        assert not supports(picture)

    def test_the_decoder_keeps_its_reference_frames(self) -> None:
        clip = _clip(30)
        with av.open(io.BytesIO(clip)) as container:
            untouched = [raw_samples(picture) for picture in container.decode(video=0)]
        with av.open(io.BytesIO(clip)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for index, picture in enumerate(container.decode(video=0)):
                assert not any(c.any() for c in changes(picture, untouched[index]).values())
                assert add_perturbation(picture, Box(0, 0, 160, 120), np.full((3, 4, 4), 0.4, np.float32), 1.0, 0.4)


def _clip(frames: int) -> bytes:
    """H.264 with B frames and long-lived references: each picture is predicted from others."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "medium", "refs": "4", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(frames):
            moved = lambda x, y, i=index: soft_colours(x + 2 * i, y)  # noqa: E731
            picture = paint("yuv420p", 160, 120, colours=moved)
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _edges(region: object) -> tuple[float, float, float, float]:
    return region.x0, region.y0, region.x1, region.y1


def _reference(component: object, layout: object, coarse: np.ndarray, region: object) -> np.ndarray:
    """Bilinear interpolation and the fade, written out sample by sample, in float64."""
    step_x, step_y = 1 << component.sub_x, 1 << component.sub_y
    cosited = component.sub_x > 0 and layout.full_range is None
    grid = coarse.shape[0]

    def axis(side: int, step: int, first: bool) -> tuple[np.ndarray, np.ndarray]:
        at = (np.arange(side // step) * step + (0.5 if first else step / 2)) / side
        ramp = np.clip(np.minimum(at, 1 - at) / FEATHER, 0, 1)
        return np.clip(at * grid - 0.5, 0, grid - 1), 0.5 - 0.5 * np.cos(np.pi * ramp)

    (ys, fy), (xs, fx) = axis(region.height, step_y, False), axis(region.width, step_x, cosited)
    out = np.zeros((len(ys), len(xs)))
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            r, c = min(int(y), grid - 2), min(int(x), grid - 2)
            v, u = y - r, x - c
            out[i, j] = (
                coarse[r, c] * (1 - v) * (1 - u)
                + coarse[r, c + 1] * (1 - v) * u
                + coarse[r + 1, c] * v * (1 - u)
                + coarse[r + 1, c + 1] * v * u
            )
    return out * fy[:, None] * fx[None, :]
