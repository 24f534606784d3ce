"""Each way of delivering does what its name says, against scipy, torch and a JPEG made by Pillow itself."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter

from engines.evaluation.channels import CHANNELS, ENCODERS, Channel, can_encode, encoded
from engines.evaluation.delivered import to_bt709
from stream_guard.media import pixels

PART = re.compile(r"(?:h264|h265|vp9)_crf\d+|jpeg\d+|resize[\d.]+|blur\d+|crop[\d.]+")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(coarse, size=(96, 96), mode="bicubic")[0].permute(1, 2, 0).numpy()
    grain = np.random.default_rng(0).normal(0, 0.04, smooth.shape)
    return ((smooth + grain).clip(0, 1) * 255).astype(np.uint8)


def softened(picture: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(picture.astype(float), (sigma, sigma, 0), mode="nearest")


def rescaled(picture: np.ndarray, share: float) -> np.ndarray:
    planes = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, size=(round(96 * share),) * 2, mode="bilinear", antialias=True)
    return F.interpolate(small, size=(96, 96), mode="bilinear")[0].permute(1, 2, 0).numpy()


def compressed(picture: np.ndarray, quality: int) -> np.ndarray:
    Image.fromarray(picture).save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def expected(part: str, picture: np.ndarray) -> np.ndarray | None:
    """What one part of a name makes of a picture; None where it makes no edit."""
    ways = {"blur": softened, "resize": rescaled, "jpeg": lambda p, quality: compressed(p, int(quality))}
    kind, number = re.match(r"([a-z]+)([\d.]+)$", part).groups() if part[0] != "h" and part[:2] != "vp" else ("", "0")
    return ways[kind](picture, float(number)) if kind in ways else None


@pytest.mark.parametrize("name", sorted(set(CHANNELS) - {"float", "8bit"}))
def test_a_channel_is_what_its_name_says(name, picture):
    channel, parts = CHANNELS[name], PART.findall(name)
    assert "_".join(parts) == name
    codec = next((part.split("_crf") for part in parts if "_crf" in part), None)
    assert (channel.codec, channel.crf) == ((codec[0], int(codec[1])) if codec else (None, 0))
    assert channel.crop == next((float(part[4:]) for part in parts if part.startswith("crop")), 1.0)
    edits = [made for part in parts if (made := expected(part, picture)) is not None]
    assert (channel.edit is not None) == bool(edits)
    if edits:
        (made,) = edits
        error, change = channel.edit(picture) - made, made - picture.astype(float)
        assert np.square(error).mean() < 0.02 * np.square(change).mean()
    for number in re.findall(r"[\d.]+", name.replace("h264", "").replace("h265", "").replace("vp9", "")):
        assert number in channel.title


@pytest.mark.parametrize("codec", sorted(ENCODERS))
def test_more_crf_is_worse(codec, picture):
    if not can_encode(codec):
        pytest.skip(f"no encoder for {codec}")
    frames = [to_bt709(np.roll(picture, k, 1)) for k in range(3)]
    clean = pixels.whole_rgb(frames[2]).astype(float)
    errors = [
        np.square(pixels.whole_rgb(encoded(frames, codec, crf)[2]) - clean).mean() for crf in (10, 23, 30, 40, 50)
    ]
    assert errors == sorted(errors)
    assert errors[-1] > 2 * errors[0]


def test_what_arrives_is_the_measured_picture():
    frames = [to_bt709(np.full((64, 64, 3), 40 * (k + 1), np.uint8)) for k in range(4)]
    for channel in (Channel("plain", ""), Channel("coded", "", "h264", 10), CHANNELS["jpeg75"]):
        assert abs(int(pixels.whole_rgb(channel.deliver(frames, 2)).mean()) - 120) < 4
