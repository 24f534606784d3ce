"""The encoder's settings: parameters for its library, and numbers out of every range."""

from __future__ import annotations

from typing import Any

import pytest

from stream_guard.errors import ConfigError
from stream_guard.media import EncoderSettings
from stream_guard.media.settings import encoder_named, encoder_options


class TestParameters:
    def test_of_the_library_are_joined(self) -> None:
        asked = EncoderSettings(options={"x265-params": "aq-mode=3", "bf": "0"})
        options = encoder_options(encoder_named("libx265"), asked)
        assert options["x265-params"] == "log-level=error:aq-mode=3"
        assert options["bf"] == "0"


class TestNumbers:
    @pytest.mark.parametrize(
        "asked",
        [
            {"gop": 99999999999},
            {"gop": 1 << 31},
            {"bit_rate": 1 << 63},
            {"bit_rate": 99999999999999999999},
            {"threads": 99999999999},
            {"crf": float("nan")},
            {"crf": float("inf")},
            {"crf": float("-inf")},
        ],
    )
    def test_out_of_every_range_are_refused(self, asked: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            EncoderSettings(**asked)

    def test_of_every_day_are_taken(self) -> None:
        EncoderSettings(gop=100_000, bit_rate=1_000_000_000, threads=64)
