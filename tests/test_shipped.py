"""What ships, end to end: the default engine on a short talking head, asked on the delivered video."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.audit.probes import load_probes
from stream_guard.audit.run import AuditOptions, audit
from stream_guard.config import load_pipeline
from stream_guard.inference import list_engines
from stream_guard.media import EncoderSettings, transcode
from stream_guard.media.synthesis import write_clip
from stream_guard.protect import protect_file
from stream_guard.talking_head import speech, talking_head

ENCODER = EncoderSettings(codec="libx264", preset="veryfast", crf=20, threads=1)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("shipped")
    pictures = talking_head(640, 360, 0.8, 15)
    write_clip(folder / "in.mp4", pictures, width=640, height=360, rate=15, loudness=speech)
    report = protect_file(folder / "in.mp4", folder / "out.mp4", load_pipeline("protect"), encoder=ENCODER)
    assert report.protected_faces == report.frames_out == 12
    transcode(folder / "in.mp4", folder / "plain.mp4", ENCODER)
    probes = load_probes()
    result = audit(
        folder / "in.mp4", folder / "out.mp4", probes, reference=folder / "plain.mp4", options=AuditOptions(samples=4)
    )
    return result.summary


@pytest.mark.parametrize(("probe", "least"), [("fomm-probe", 0.03), ("stargan-probe", 0.006)])
def test_the_surrogates_fail_on_the_delivered_video(delivered: dict[str, object], probe: str, least: float) -> None:
    """Reenactment first: the shipped disrupter was trained against it most. StarGAN gives way little."""
    found = delivered["generators"][probe]  # type: ignore[index]
    assert found["control"]["l2_mean"] < 0.005
    assert found["l2_mean"] > least, found
    assert found["l2_mean"] > 20 * found["control"]["l2_mean"]


def test_it_is_hard_to_see_and_costs_few_bits(delivered: dict[str, object]) -> None:
    assert delivered["face"]["net_psnr_db"] > 33  # type: ignore[index]
    assert delivered["bitrate_ratio"] < 1.15  # type: ignore[operator]


def test_every_card_fits_its_model() -> None:
    for card in list_engines():
        assert card.read_model()
        assert card.licence
        assert card.data


def test_a_generator_is_for_evaluation_only() -> None:
    assert all(card.evaluation_only for card in list_engines() if card.kind == "generator")


def test_weights_are_small() -> None:
    zoo = Path(__file__).resolve().parents[1] / "engines" / "zoo"
    sizes = {path.parent.name: path.stat().st_size for path in zoo.rglob("*.onnx")}
    assert sizes.pop("detector") < 12e6, "two networks in one"
    assert max(sizes.values()) < 8e6
