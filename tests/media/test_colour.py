"""What samples mean, held against the numbers of the standards."""

from __future__ import annotations

import av
import numpy as np
import pytest

from stream_guard.media.colour import Colour, Grid, colour_of, readable_colour
from stream_guard.media.layouts import Component, find_layout

# ITU-R BT.601, BT.709, BT.2020: what Cr adds to R, what Cb and Cr take from G, what Cb adds to B.
TO_RGB = {
    "bt601": (1.402, 0.344136, 0.714136, 1.772),
    "bt709": (1.5748, 0.187324, 0.468124, 1.8556),
    "bt2020": (1.4746, 0.164553, 0.571353, 1.8814),
}


def looked_at(format: str, *, matrix: int = 2, range: int = 0, height: int = 64) -> tuple[Colour, list[Component]]:
    picture = av.VideoFrame(64, height, format)
    picture.colorspace, picture.color_range = matrix, range
    layout = find_layout(format)
    assert layout is not None
    colour = colour_of(picture, layout)
    assert colour is not None
    return colour, list(layout.components)


@pytest.mark.parametrize("matrix", TO_RGB)
def test_a_change_of_luma_and_chroma_is_the_standards_change_of_red_green_and_blue(matrix: str) -> None:
    delta: Grid = np.random.default_rng(0).uniform(-0.1, 0.1, (3, 4, 4)).astype(np.float32)
    y, cb, cr = delta
    cr_to_r, cb_to_g, cr_to_g, cb_to_b = TO_RGB[matrix]
    wanted = {"R": y + cr_to_r * cr, "G": y - cb_to_g * cb - cr_to_g * cr, "B": y + cb_to_b * cb}
    for role, plane in wanted.items():
        assert np.abs(Colour(matrix, True).to_component(delta, role) - plane).max() < 1e-5


@pytest.mark.parametrize("matrix", sorted(TO_RGB))
def test_the_way_back_undoes_it(matrix: str) -> None:
    change = np.random.default_rng(2).uniform(-0.3, 0.3, (4, 5, 3)).astype(np.float32)
    colour = Colour(matrix, True)
    delta = colour.from_rgb(change)
    assert delta.shape == (3, 4, 5)
    for k, role in enumerate("RGB"):
        assert np.abs(colour.to_component(delta, role) - change[..., k]).max() < 1e-6


@pytest.mark.parametrize(
    ("format", "range", "luma", "chroma"),
    [
        ("yuv420p", 0, (16, 235), (16, 240)),
        ("yuv420p", 1, (16, 235), (16, 240)),
        ("yuv420p", 2, (0, 255), (0, 255)),
        ("yuvj420p", 0, (0, 255), (0, 255)),
        ("yuv420p10le", 1, (64, 940), (64, 960)),
        ("gray", 0, (0, 255), None),
        ("gray", 1, (16, 235), None),
        ("rgb24", 1, (0, 255), (0, 255)),
    ],
)
def test_the_range_of_samples(format: str, range: int, luma: tuple[int, int], chroma: tuple[int, int] | None) -> None:
    colour, components = looked_at(format, range=range)
    assert colour.legal(components[0]) == luma
    for component in components:
        low, high = colour.legal(component)
        assert colour.span(component) == high - low
        assert component is components[0] or (low, high) == chroma


@pytest.mark.parametrize(
    ("tag", "name"),
    [(1, "bt709"), (4, "fcc"), (5, "bt601"), (6, "bt601"), (7, "smpte240m"), (9, "bt2020"), (10, "bt2020")],
)
def test_a_tagged_matrix_is_believed_at_any_height(tag: int, name: str) -> None:
    assert {looked_at("yuv444p", matrix=tag, height=height)[0].matrix for height in (64, 1080)} == {name}


@pytest.mark.parametrize(("height", "name"), [(576, "bt601"), (720, "bt709"), (1080, "bt709")])
def test_rgb_is_changed_by_the_matrix_that_its_height_suggests(height: int, name: str) -> None:
    """Whatever its tag says: YCgCo is none of ours, but RGB has no matrix at all."""
    assert looked_at("rgb24", matrix=8, height=height)[0] == Colour(name, True)


def test_formats_that_can_only_be_read_have_the_range_of_their_kind() -> None:
    full = {
        format: readable_colour(av.VideoFrame(64, 64, format)).full_range for format in ("rgb8", "x2rgb10le", "yuv444p")
    }
    assert full == {"rgb8": True, "x2rgb10le": True, "yuv444p": False}
