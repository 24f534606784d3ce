"""Screening a file: what becomes of verdicts over time, the policy, the command and its exit codes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_guard.cli import app
from stream_guard.commands import counting
from stream_guard.config import Override, check, load_pipeline
from stream_guard.document import read_document
from stream_guard.errors import ConfigError, SourceError, StoppedError
from stream_guard.metrics import Metrics
from stream_guard.screen import _Track, judge, screen_file
from stream_guard.types import Verdict
from tests.support.screening import clip, screening

from .support import troubles
from .support.media import plain

REJECT = {"detect": ("fake",), "magdr": ("perturbed", "unknown")}


def tracks(**labels: str) -> dict[tuple[str, int | None], _Track]:
    """`magdr_1="ccp"`: what the stage said of face 1, a letter each tenth of a second; `magdr_none`: no face."""
    words = {"c": "clean", "p": "perturbed", "u": "unknown", "r": "real", "f": "fake"}
    made: dict[tuple[str, int | None], _Track] = {}
    for key, letters in labels.items():
        stage, _, number = key.partition("_")
        track = None if number == "none" else int(number)
        for k, letter in enumerate(letters):
            label = words[letter]
            reason = "no_face" if track is None else ""
            verdict = Verdict(stage, label, 0.7, track, reason, measured=label != "unknown")
            made.setdefault((stage, track), _Track(k / 10, 0.0)).add(verdict, k / 10)
    return made


class TestPolicy:
    @pytest.mark.parametrize(
        ("labels", "outcome"),
        [
            ({"magdr_1": "c" * 20}, "passed"),
            ({"magdr_1": "p" * 20}, "rejected"),
            ({"magdr_1": "c" * 20, "detect_1": "f" * 20}, "rejected"),
            ({"magdr_1": "c" * 20, "detect_1": "u" * 20}, "undecided"),
            ({"magdr_none": "u" * 20}, "rejected"),
            ({"magdr_1": "c" * 20, "magdr_none": "u" * 20}, "passed"),
            ({"magdr_1": "c" * 20, "magdr_2": "u" * 3}, "passed"),
            ({"magdr_1": "c" * 20, "magdr_2": "u" * 20}, "rejected"),
            ({"magdr_1": "c" * 100 + "p"}, "passed"),
            ({"magdr_1": "c" * 100 + "p" * 15}, "rejected"),
            ({"magdr_1": "c" * 6 + "p" * 3}, "rejected"),
            ({"magdr_1": "c" * 6 + "p" * 2}, "rejected"),
            ({"magdr_1": "c" * 7 + "p" * 2}, "passed"),
            ({"magdr_1": "u" * 3}, "rejected"),
            ({"magdr_1": "u" * 3, "magdr_2": "u" * 3}, "rejected"),
            ({"magdr_1": "u" * 3, "detect_2": "r" * 20}, "rejected"),
            ({"magdr_none": "u" * 3, "detect_2": "r" * 20}, "rejected"),
            ({"magdr_1": "c" * 16 + "u" * 134}, "rejected"),
            ({"magdr_1": "c" * 49 + "u" * 51}, "rejected"),
            ({"magdr_1": "c" * 50 + "u" * 50}, "passed"),
            ({"magdr_1": "c" * 20, "magdr_2": "cu"}, "passed"),
            ({"detect_1": "r" * 16 + "u" * 134}, "passed"),
        ],
    )
    def test_outcomes(self, labels: dict[str, str], outcome: str) -> None:
        assert judge(tracks(**labels), REJECT)[2] == outcome

    def test_unknown_may_be_let_in_and_is_then_undecided(self) -> None:
        verdicts, causes, outcome = judge(tracks(magdr_none="uuu"), {"magdr": ("perturbed",)})
        assert outcome == "undecided"
        assert causes == ("magdr: the content is unknown: no_face",)
        assert verdicts[0].score is None

    def test_a_face_is_described_by_what_most_of_its_pictures_say(self) -> None:
        track = _Track(0.0, 0.0)
        for k, (sure, region) in enumerate([(0.9, "mouth"), (0.8, "mouth"), (0.6, "hair")]):
            track.add(Verdict("magdr", "perturbed", sure, 1, "", confidence=sure, region=region), k / 10)
        for k, reason in enumerate(["low_confidence"] * 3 + ["too_small"]):
            track.add(Verdict("magdr", "unknown", 0.5, 1, reason), 0.3 + k / 10)
        (found,), _, _ = judge({("magdr", 1): track}, {"magdr": ("perturbed",)})
        assert (found.label, found.region) == ("perturbed", "mouth")
        assert found.score == found.confidence == pytest.approx(0.7667, abs=1e-4)
        (found,), _, _ = judge({("magdr", 1): track}, {"magdr": ("unknown",)})
        assert (found.label, found.reason, found.confidence) == ("unknown", "low_confidence", None)

    def test_what_is_known_against_a_face_is_said_before_the_unknown(self) -> None:
        (verdict,), _, outcome = judge(tracks(magdr_1="c" * 6 + "p" * 3 + "u" * 60), REJECT)
        assert (verdict.label, outcome) == ("perturbed", "rejected")

    def test_an_empty_policy_rejects_nothing_and_passes_nothing_unknown(self) -> None:
        assert judge(tracks(magdr_1="p" * 9), {})[2] == "passed"
        assert judge(tracks(magdr_1="u" * 9), {})[2] == "undecided"

    def test_a_verdict_says_where_when_and_how_often(self) -> None:
        (verdict,), causes, _ = judge(tracks(magdr_4="cppp"), REJECT)
        assert verdict.pictures == {"clean": 1, "perturbed": 3}
        assert (verdict.track, verdict.first_seconds, verdict.last_seconds) == (4, 0.0, 0.3)
        assert causes == ("magdr: face 4 is perturbed (score 0.70)",)


class TestSchema:
    def pipeline(self, folder: Path, reject: str) -> Path:
        path = folder / "p.yaml"
        path.write_text(f"name: p\nstages: [faces, magdr]\nreject: {reject}\n", encoding="utf-8")
        return path

    def test_the_bundled_pipeline_rejects_deepfakes_and_what_nobody_knows(self) -> None:
        config = load_pipeline("screen")
        assert dict(config.reject) == {"detect": ("fake", "unknown")}
        assert not config.protects

    @pytest.mark.parametrize(
        ("reject", "words"),
        [
            ("{magdr: [perturbd]}", "did you mean 'perturbed'"),
            ("{detect: [fake]}", "no stage 'detect' that judges"),
            ("{faces: [clean]}", "no stage 'faces' that judges"),
            ("[magdr]", "reject"),
        ],
    )
    def test_mistakes_are_named_with_their_place(self, tmp_path: Path, reject: str, words: str) -> None:
        with pytest.raises(ConfigError, match=words) as caught:
            check(read_document(self.pipeline(tmp_path, reject)))
        assert "p.yaml" in str(caught.value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("screen")
    return {
        "pipeline": screening(folder),
        "rough": clip(folder / "rough.mp4", 55),
        "nobody": plain(folder, frames=12),
    }


def command(*words: object) -> tuple[int, str, str]:
    run = CliRunner().invoke(app, ["screen", *map(str, words)])
    return run.exit_code, run.stdout, run.stderr


class TestOptions:
    def test_a_policy_of_the_command_line_is_reported_as_it_was_typed(self) -> None:
        typed = "--set reject={detect: fake}"
        with pytest.raises(ConfigError) as caught:
            load_pipeline("screen", [Override("reject", {"detect": "fake"}, typed)])
        assert str(caught.value) == f"{typed}: reject.detect: got 'fake'; it should be a valid list"

    def test_of_a_judge_with_a_mistake_it_is_not_said_that_it_does_not_judge(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_pipeline("screen", [Override("detect.fake_from", 0.2, "--set detect.fake_from=0.2")])
        assert "must not be above fake_from" in str(caught.value)
        assert "that judges" not in str(caught.value)


class TestFiles:
    def test_the_device_that_decodes_is_the_pipelines(self, made: dict[str, Path]) -> None:
        code, _, err = command(made["nobody"], "--pipeline", made["pipeline"], "--set", "hwaccel=nonsense")
        assert (code, "unknown hwaccel 'nonsense'" in err) == (2, True)

    def test_a_second_video_stream_is_refused_without_an_option_that_is_not_there(
        self, made: dict[str, Path], tmp_path: Path
    ) -> None:
        two = troubles.several_videos(tmp_path)
        code, _, err = command(two, "--pipeline", made["pipeline"])
        assert (code, "2 video streams" in err) == (2, True)
        assert "give a file with the one you want (`protect --all-video` " in err

    def test_a_perturbed_face_is_rejected_with_its_verdict(self, made: dict[str, Path]) -> None:
        code, out, err = command(made["rough"], "--pipeline", made["pipeline"], "--json")
        report = json.loads(out)
        assert code == 3, err
        assert report["rejected"]
        assert report["outcome"] == "rejected"
        verdict = next(v for v in report["verdicts"] if v["label"] == "perturbed")
        assert verdict["stage"] == "magdr"
        assert verdict["score"] >= 0.5
        assert report["frames"] == 25
        assert "is perturbed" in err

    def test_words_for_a_person(self, made: dict[str, Path]) -> None:
        code, out, err = command(made["rough"], "--pipeline", made["pipeline"])
        assert code == 3
        assert "rejected" not in err, "said once"
        assert any(line.startswith("magdr    face") and " perturbed " in line for line in out.splitlines())
        assert out.splitlines()[-1].startswith("rejected: magdr")

    @pytest.mark.parametrize(("options", "told"), [((), True), (("--quiet",), False), (("-q",), False)])
    def test_where_it_stands_is_not_told_to_who_wants_it_quiet(
        self, made: dict[str, Path], options: tuple[str, ...], told: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counting, "LINE_EVERY_SECONDS", 0.0)
        _, out, err = command(made["nobody"], "--pipeline", made["pipeline"], *options)
        assert ("screening: 12 of about 12 pictures" in err) == told
        assert out.startswith("magdr ")

    def test_nobody_in_the_picture_is_no_pass(self, made: dict[str, Path]) -> None:
        code, out, _ = command(made["nobody"], "--pipeline", made["pipeline"], "--json")
        assert code == 3
        assert json.loads(out)["causes"] == ["magdr: the content is unknown: no_face"]

    def test_the_policy_may_let_the_unknown_in(self, made: dict[str, Path]) -> None:
        code, out, _ = command(
            made["nobody"], "--pipeline", made["pipeline"], "--set", "reject={magdr: [perturbed]}", "--json"
        )
        assert code == 0
        assert json.loads(out)["outcome"] == "undecided"

    def test_a_pipeline_that_judges_nothing_is_refused(self, made: dict[str, Path]) -> None:
        with pytest.raises(ConfigError, match="judges nothing"):
            screen_file(made["nobody"], load_pipeline("protect"))

    def test_a_file_that_is_no_video(self, made: dict[str, Path], tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(b"nothing")
        with pytest.raises(SourceError):
            screen_file(tmp_path / "a.mp4", load_pipeline(str(made["pipeline"])))

    def test_it_stops_when_asked(self, made: dict[str, Path]) -> None:
        stop = threading.Event()
        stop.set()
        with pytest.raises(StoppedError, match="not judged to its end"):
            screen_file(made["nobody"], load_pipeline(str(made["pipeline"])), stop=stop)

    def test_progress_is_told(self, made: dict[str, Path]) -> None:
        seen: list[int] = []
        report = screen_file(
            made["nobody"],
            load_pipeline(str(made["pipeline"])),
            on_progress=lambda progress: seen.append(progress.frames),
        )
        assert seen == list(range(1, 13))
        assert report.engines["magdr"]["engine"] == "contrast"

    def test_pictures_are_counted_and_none_has_a_time_of_encoding(self, made: dict[str, Path]) -> None:
        metrics = Metrics()
        screen_file(made["nobody"], load_pipeline(str(made["pipeline"])), metrics=metrics)
        names = ("frames_in_total", "frames_out_total", "frames_without_face_total", "frame_latency_seconds_count")
        values = [metrics.registry.get_sample_value(f"stream_guard_{name}") for name in names]
        assert values == [12, 12, 12, 0]

    def test_no_face_is_called_unprotected(self, made: dict[str, Path]) -> None:
        metrics = Metrics()
        report = screen_file(made["rough"], load_pipeline(str(made["pipeline"])), metrics=metrics)
        assert any(verdict.track is not None for verdict in report.verdicts)
        told = {sample.name for family in metrics.registry.collect() for sample in family.samples}
        assert "stream_guard_verdicts_total" in told
        assert "stream_guard_faces_total" not in told
