"""The picture that is shown while the source is away, drawn once: no file and no font of the system is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK = (24, 26, 30), (200, 204, 210)
WORDS = "NO SIGNAL"


def draw(width: int, height: int) -> npt.NDArray[np.uint8]:
    """A dark picture (height, width, 3) RGB with a crossed-out camera and words below it."""
    picture = Image.new("RGB", (width, height), BACKGROUND)
    side = max(min(width, height) // 4, 8)
    _camera(ImageDraw.Draw(picture), width // 2, height * 2 // 5, side)
    words = _words(side * 2)
    picture.paste(INK, ((width - words.width) // 2, height * 2 // 5 + side * 4 // 5), words)
    return np.asarray(picture, np.uint8)


def _camera(pen: ImageDraw.ImageDraw, x: int, y: int, side: int) -> None:
    line = max(side // 14, 1)
    half, third = side // 2, side // 3
    pen.rectangle((x - half, y - third, x + side // 4, y + third), outline=INK, width=line)
    pen.polygon(
        ((x + side // 4, y - line), (x + half, y - third), (x + half, y + third), (x + side // 4, y + line)), fill=INK
    )
    pen.line((x - half, y + half, x + half, y - half), fill=INK, width=line * 2)


def _words(width: int) -> Image.Image:
    """The words as a mask: PIL's own font, which is part of it, made as wide as is wanted."""
    font = ImageFont.load_default()
    left, top, right, bottom = (round(edge) for edge in font.getbbox(WORDS))
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).text((-left, -top), WORDS, fill=255, font=font)
    return mask.resize((max(width, 1), max(width * mask.height // mask.width, 1)), Image.Resampling.BILINEAR)
