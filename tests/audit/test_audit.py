"""The audit of files: what it measures, on clips whose answer is known, and how it refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stream_guard.audit import run as run_module
from stream_guard.audit.probes import Probe, load_probes
from stream_guard.audit.report import render, report_file
from stream_guard.audit.result import AuditResult
from stream_guard.audit.run import AuditOptions, audit
from stream_guard.commands import counting
from stream_guard.errors import MediaError, OutputRefusedError
from stream_guard.media import EncoderSettings, transcode
from stream_guard.types import head_region
from tests.support import media
from tests.support.audited import FACE, LOSSLESS, NoFace, StillFace, perturbed, run
from tests.support.probes import NAME, TITLE, write_probe

LOSSY = EncoderSettings(codec="libx264", preset="ultrafast", crf=30, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def original(folder: Path) -> Path:
    return media.plain(folder, frames=20)


@pytest.fixture(scope="module")
def protected(original: Path, folder: Path) -> Path:
    return perturbed(original, folder / "protected.mkv", LOSSLESS)


@pytest.fixture(scope="module")
def probe(folder: Path) -> Iterable[Probe]:
    (loaded,) = load_probes([str(write_probe(folder / NAME))], backend="onnxruntime")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def result(original: Path, protected: Path, probe: Probe, folder: Path) -> AuditResult:
    reference = folder / "reference.mkv"
    transcode(str(original), str(reference), LOSSLESS)
    options = AuditOptions(every=5, moments=2)
    return audit(original, protected, [probe], reference=reference, options=options, faces=StillFace())


def test_the_figures_of_a_known_change(result: AuditResult) -> None:
    summary = result.summary
    assert (summary["frames"], summary["faces"], summary["tracks"], summary["sampled"]) == (20, 20, 1, 4)
    face, frame = summary["face"], summary["frame"]
    # Twelve levels of full range are ten of the limited range's luma, and back: 12 within a level, all of it kept.
    assert face["psnr_db"] == pytest.approx(20 * np.log10(255 / 12), abs=1.0)
    assert face["net_psnr_db"] == pytest.approx(face["psnr_db"])
    assert face["reference_psnr_db"] is None
    area = head_region(FACE).area / (160 * 120)
    assert frame["psnr_db"] - face["psnr_db"] == pytest.approx(-10 * np.log10(area), abs=0.3)
    assert 0.9 < face["ssim"] < 1
    assert 0.9 < frame["ssim"] < 1
    assert summary["flicker"] < 1.5  # a constant change moves with nothing; clipping at the range's ends is all
    assert summary["unpaired"] == {"original": 0, "protected": 0, "reference": 0}


def test_the_generator_is_asked_and_the_plain_transcode_is_the_control(result: AuditResult) -> None:
    found = result.summary["generators"][NAME]
    assert found["pairs"] == 4 * 2
    assert found["disrupted"] == 1.0
    assert found["l2_mean"] > 0.05
    assert found["ci95"][0] < 0.9 < found["ci95"][1]
    assert (found["target"], found["threshold"], found["worst_track"]) == (0.8, 0.05, {"track": 1, "disrupted": 1.0})
    assert (found["control"]["disrupted"], found["control"]["l2_mean"]) == (0.0, 0.0)


def test_the_summary_is_plain_json(result: AuditResult) -> None:
    assert json.loads(json.dumps(result.summary, allow_nan=False)) == result.summary


def test_a_clip_against_itself_is_identical_and_not_disrupted(original: Path, probe: Probe) -> None:
    summary = audit(original, original, [probe], faces=StillFace()).summary
    assert (summary["face"]["psnr_db"], summary["face"]["ssim"]) == (None, pytest.approx(1))
    assert (summary["bitrate_ratio"], summary["flicker"]) == (1.0, 0.0)
    assert summary["generators"][NAME]["disrupted"] == 0.0


def test_other_pictures_are_not_called_protection_without_a_word(original: Path, folder: Path, probe: Probe) -> None:
    other = perturbed(original, folder / "other.mkv", LOSSLESS, levels=90)
    (said,) = audit(original, other, [probe], faces=StillFace()).summary["warnings"]
    assert said.startswith("the heads of the two videos are hardly alike (PSNR ")


def test_the_bit_rate_is_that_of_the_video_stream(original: Path, folder: Path, probe: Probe) -> None:
    coarse = folder / "coarse.mp4"
    transcode(str(original), str(coarse), LOSSY)
    summary = audit(original, coarse, [], faces=NoFace()).summary
    assert 0 < summary["bitrate_ratio"] < 0.9
    assert summary["bitrate_against"] == "original"
    against = audit(original, coarse, [], reference=coarse, faces=NoFace()).summary
    assert (against["bitrate_ratio"], against["bitrate_against"]) == (1.0, "reference")
    assert against["frame"]["net_psnr_db"] is None


def test_a_clip_without_faces_has_no_face_figures(original: Path, protected: Path, probe: Probe) -> None:
    result = audit(original, protected, [probe], faces=NoFace())
    assert result.summary["faces"] == 0
    assert result.summary["face"]["ssim"] is None
    assert result.summary["generators"][NAME]["disrupted"] is None
    assert result.worst_share() is None
    assert "No face was found" in render(result)


def test_a_missing_frame_is_counted_and_does_not_shift_the_others(original: Path, folder: Path) -> None:
    gap = perturbed(original, folder / "gap.mkv", LOSSLESS, skip=7)
    summary = audit(original, gap, [], faces=StillFace()).summary
    assert (summary["frames"], summary["unpaired"]) == (19, {"original": 1, "protected": 0})
    assert summary["face"]["psnr_db"] > 25


@pytest.mark.parametrize("skips", [1, 2])
def test_pictures_of_another_rate_show_no_flicker_that_nobody_sees(skips: int, folder: Path) -> None:
    """What moved between two pictures that are compared counts only where a viewer sees one after the other."""
    quick = media.write(folder / "quick.mkv", media.Clip(frames=20, rate=Fraction(50), audio=()))
    slow = media.write(folder / "slow.mkv", media.Clip(frames=10, rate=Fraction(25), audio=()))
    versions = (slow, quick) if skips == 2 else (quick, slow)
    summary = audit(*versions, [], faces=StillFace()).summary
    assert summary["frames"] == 10
    assert (summary["flicker"] is None) == (skips == 2)
    told = [words for words in summary["warnings"] if "have no partner" in words]
    assert [words.split()[0] for words in told] == ([] if skips == 2 else ["10"])


def test_variable_rate_pairs_in_another_container(folder: Path) -> None:
    source = media.vfr(folder)
    target = folder / "vfr.mkv"
    transcode(str(source), str(target), LOSSLESS)
    summary = audit(source, target, [], faces=NoFace()).summary
    assert (summary["frames"], summary["unpaired"]) == (len(media.VFR_PTS), {"original": 0, "protected": 0})
    assert summary["frame"]["psnr_db"] is None


def test_videos_without_a_common_time_are_refused(original: Path, tmp_path: Path) -> None:
    late = media.write(tmp_path / "late.mkv", media.Clip(pts=(50000, 50400), time_base=media.Fraction(1, 1000)))
    with pytest.raises(MediaError, match=r"no frames could be paired.*from 50\.000 s"):
        audit(original, late, [], faces=NoFace())


def test_the_report_stands_alone(result: AuditResult, tmp_path: Path) -> None:
    page = render(result)
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert page.count("data:image/jpeg;base64,") == 2 + 2 * (3 + 4)  # the frame; two moments with faces and edits
    assert "surrogate" in page
    assert f"{TITLE} (surrogate) fails on 100 % of its edits" in page
    assert "<svg" in page
    path = tmp_path / "report.html"
    with report_file(path) as write:
        write(result)
    assert path.read_text(encoding="utf-8") == page
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_names_of_files_cannot_write_html(result: AuditResult) -> None:
    clip = replace(result.protected, name="<script>alert(1)</script>$title")
    page = render(replace(result, protected=clip))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$title" in page


def test_a_name_in_another_encoding_is_spelled_in_the_page(result: AuditResult, tmp_path: Path) -> None:
    with report_file(tmp_path / "report.html") as write:
        write(replace(result, protected=replace(result.protected, name=os.fsdecode(b"caf\xe9.mp4"))))
    assert "Audit of caf\\udce9.mp4" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_report_is_refused_before_the_work_and_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputRefusedError), report_file(path):
        pass
    with pytest.raises(RuntimeError), report_file(path, overwrite=True):
        raise RuntimeError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("report.html", "mine")]


@pytest.fixture
def still_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with faces that need no detector."""
    monkeypatch.setattr(run_module, "audit", lambda *a, **k: audit(*a, faces=StillFace(), **k))


@pytest.mark.usefixtures("still_faces", "probe")
def test_the_command_prints_json_alone(original: Path, protected: Path, folder: Path) -> None:
    code, out, _ = run(original, protected, "--generator", folder / NAME, "--every", 10, "--json")
    assert code == 0
    assert json.loads(out)["generators"][NAME]["pairs"] == 4


@pytest.mark.usefixtures("still_faces", "probe")
@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_not_told_to_who_wants_it_quiet(
    original: Path, protected: Path, folder: Path, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "LINE_EVERY_SECONDS", 0.0)
    words = (original, protected, "--generator", folder / NAME, "--every", 10, *(["--quiet"] if quiet else []))
    code, out, err = run(*words)
    assert (code, "auditing:" in err) == (0, not quiet)
    assert "surrogate" in out


@pytest.mark.usefixtures("still_faces", "probe")
def test_the_command_speaks_in_words_and_makes_a_reference(original: Path, protected: Path, folder: Path) -> None:
    report = folder / "words.html"
    code, out, _ = run(
        *(original, protected, "--generator", folder / NAME, "--samples", 2, "--report", report),
        *("--make-reference", "--preset", "ultrafast", "--crf", 20, "--fail-under", 0.9),
    )
    assert code == 0
    assert "surrogate" in out
    assert "PSNR of the protection alone" in out
    assert "A plain re-encode alone disrupts" in out
    assert report.is_file()
    code, _, err = run(original, protected, "--generator", folder / NAME, "--samples", 2)
    assert "not subtracted" in err


@pytest.mark.usefixtures("still_faces", "probe")
def test_too_small_a_share_exits_with_three(original: Path, folder: Path) -> None:
    code, _, err = run(original, original, "--generator", folder / NAME, "--fail-under", 0.5)
    assert (code, "rejected: only 0.00" in err) == (3, True)


@pytest.mark.usefixtures("still_faces", "probe")
def test_edits_of_other_pictures_are_no_protection(original: Path, folder: Path) -> None:
    other = perturbed(original, folder / "unlike.mkv", LOSSLESS, levels=120)
    code, _, err = run(original, other, "--generator", folder / NAME, "--samples", 2, "--fail-under", 0)
    assert (code, "rejected: the heads of the two videos are hardly alike" in err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail-under", "80"], "between 0 and 1"),
        (["--crf", "20"], "--make-reference"),
        (["--reference", "x.mp4", "--make-reference"], "give one of them"),
        (["--every", "0"], "--every is 0"),
        (["--samples", "0"], "--samples is 0"),
        (["--every", "5", "--samples", "3"], "--every and --samples were both given"),
        (["--bitrate", "fast"], "--bitrate 'fast'"),
        (["--generator", "no-such-generator"], "no-such-generator"),
    ],
)
def test_wrong_usage_is_named(original: Path, arguments: list[str], words: str) -> None:
    code, _, err = run(original, original, *arguments)
    assert (code, words in err) == (2, True), err


@pytest.mark.usefixtures("probe")
def test_the_report_never_replaces_a_video(original: Path, folder: Path) -> None:
    before = original.read_bytes()
    code, _, err = run(original, original, "--generator", folder / NAME, "--report", original, "--overwrite")
    assert (code, "one of the videos" in err) == (2, True)
    assert original.read_bytes() == before


def test_moments_where_the_original_has_another_size_are_left_out_and_counted(probe: Probe, tmp_path: Path) -> None:
    small = media.write(tmp_path / "small.ts", media.Clip(size=(96, 64), frames=10))
    changing, protected = tmp_path / "changing.ts", tmp_path / "protected.mp4"
    changing.write_bytes(media.plain(tmp_path, frames=10, suffix=".ts").read_bytes() + small.read_bytes())
    transcode(str(changing), str(protected), LOSSLESS)
    result = audit(changing, protected, [probe], options=AuditOptions(every=5), faces=StillFace())
    assert (result.summary["frames"], result.summary["faces"], result.summary["sampled"]) == (10, 10, 2)
    (said, *_) = result.summary["warnings"]
    assert said.startswith("10 pictures are of another size than their partners and were left out")
