"""The page of detectors says what the results say, and where there are none, that nothing was run."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def fooling() -> Any:
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("fooling")
    finally:
        sys.path.remove(str(DOCS))


def share(value: float, count: int = 10) -> dict[str, Any]:
    return {"value": value, "ci95": [max(0.0, value - 0.1), min(1.0, value + 0.1)], "count": count}


def deliveries(value: float) -> dict[str, Any]:
    return {way: share(value) for way in ("8 bits", "jpeg 75", "h264 crf 23")}


def document() -> dict[str, Any]:
    table1 = {"network": "vgg", "title": "VGG", "accuracy": share(0.9), "auroc": 0.95}
    table1 |= {f"{what}_{kind}": 0.9 for what in ("precision", "recall") for kind in ("fake", "real")}
    columns = ("unperturbed", "fgsm_blackbox", "fgsm_whitebox", "cw_blackbox", "cw_whitebox")
    table2 = {"network": "vgg", "title": "VGG", **{c: deliveries(0.31) for c in columns}}
    facts = {"count": 10, "l2_mean": 2.2, "psnr_db": 34.0, "reached": 0.25, "held_close": 0.5}
    table2 |= {"fgsm_facts": facts, "cw_facts": facts, "cw_whitebox_papers_code": deliveries(0.75)}
    attacks = {key: share(0.4) for key in ("clean", "apgd_ce", "apgd_margin", "square", "worst")}
    checks = {"share_of_zero_gradients": 0.0, "without_a_bound_nothing_holds": False}
    tables = {"precision_fake": 1, "recall_fake": 0.8, "recall_real": 0.7}
    return {
        "commands": ["python -m engines evaluate detection --data PACK"],
        "size": 64,
        "people": {"train": 3, "val": 2, "test": 1},
        "fakes_by": {"stargan": {"steps": 7}},
        "effort": {
            "faces": 4, "search_steps": 3, "iterations": 9, "confidence": 200.0, "near": 1.0, "near_iterations": 5,
        },
        "not_run": ["network lipschitz5"],
        "table1": [table1],
        "table2": [table2],
        "suite": [{"title": "VGG", **attacks, "checks": checks}],
        "prior": [
            {
                "title": "Robust", "iterations_at_most": 500, "pictures": 20, "reals": 10, "size": 64, "batch": 4,
                "iteration_that_counts_mean": 88.0, "cpu_seconds_an_image": 2.5,
                "times_sooner_than_the_papers_30_minutes": 720.0,
            }
        ],
        "table3": [
            {"title": "Robust", "defence": "Baseline", "threshold": 0.5, "accuracy": share(0.6), "auroc": 0.5, **tables}
        ],
        "table4": [
            {"title": "Robust", "beside": True, "category": "unperturbed, real-correct", "count": 3,
             "baseline": share(1), "threshold_0.5": share(0.66), "threshold_0.25": share(1)}
        ],
        "figure6": [
            {"panel": "d", "picture": "real", "iterations": list(range(0, 50, 5)), "p_real": [0.5] * 10,
             "p_real_averaged": [0.125] * 10, "stops_at": 35}
        ],
    }  # fmt: skip


def test_without_results_it_says_so(fooling: Any) -> None:
    text = fooling.page(None, None)
    assert "Not measured yet" in text
    assert "Not run yet" in text


def test_every_table_stands_with_the_papers_figures(fooling: Any) -> None:
    text = fooling.page(None, document())
    assert "31.0% (21.0% to 41.0%)" in text
    assert "26.6 %" in text  # the paper's Carlini-Wagner black box on VGG
    assert "Not run: network lipschitz5." in text
    assert "not passed: without a bound nothing holds" in text
    assert "accuracy 60.0, AUROC 41.9" in text
    assert "720 times sooner" in text
    assert "(figure6.svg)" in text
    assert "3 steps of 9 iterations" in text
    assert "| VGG | cw | 10 | 25% | 31.0% | 75.0% | - | 2.20 | 34.0 dB |" in text
    assert "| VGG | fgsm | 10 | - | 31.0% | - | 50.0% |" in text
    assert "| Robust | unperturbed, real-correct (*) | 3 |" in text


def test_what_robustness_costs_is_told(fooling: Any) -> None:
    made = document()
    assert "one-sided" not in fooling.page(None, made)
    robust = {"network": "adversarial", "title": "Robust"}
    made["suite"][0]["network"] = "vgg"
    made["table1"].append(made["table1"][0] | robust | {"recall_real": 0.83})
    made["table2"].append(made["table2"][0] | robust | {"fgsm_whitebox": deliveries(0.62)})
    made["suite"].append(made["suite"][0] | robust | {"worst": share(0.47)})
    made["trade"] = [robust | {"real_recall_at": {"0.6": 0.91, "0.8": 0.72}}]
    text = fooling.page(None, made)
    best = "where the best of those that learned from no attack keeps 31%"
    assert f"calls 62% of the fakes fake under white-box FGSM, {best}" in text
    assert "47% under the worst of the suite below, where they keep 40%" in text
    assert "83% of the reals pass" in text
    assert "60% with 91%, 80% with 72%" in text


def test_whether_the_prior_earns_its_cost_is_told(fooling: Any) -> None:
    made = document()
    assert "The prior " not in fooling.page(None, made)
    for row in (*made["prior"], *made["table3"], *made["table4"]):
        row["network"] = "prior"
    whole = made["table3"][0]
    made["table3"].append(whole | {"defence": "Deep Image Prior", "accuracy": share(0.55), "auroc": 0.7})
    made["table4"].append(made["table4"][0] | {"category": "fgsm whitebox, fake-wrong", "beside": False})
    text = fooling.page(None, made)
    assert "The prior lowers the accuracy from 60.0% to 55.0% and takes the AUROC from 0.500 to 0.700." in text
    assert "brings back: fgsm whitebox 66%." in text
    assert "without a prior" not in text
    made["table3"].append(whole | {"defence": "Both networks, no prior", "accuracy": share(0.58), "auroc": 0.7})
    assert "The two networks without a prior reach 58.0%." in fooling.page(None, made)


def test_figure_6_is_drawn(fooling: Any) -> None:
    text = fooling.fooling_prior.figure6(document())
    root = ElementTree.fromstring(text)
    assert "(d) real" in text
    assert "stops at 35" in text
    lines = [one.attrib["points"] for one in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points.split()) for points in lines] == [10, 10]
    first, last = (float(lines[0].split()[k].split(",")[0]) for k in (0, -1))
    assert last - first == pytest.approx(320)


def test_what_was_left_out_is_left_out(fooling: Any) -> None:
    made = document()
    for key in ("suite", "table3", "table2"):
        del made[key]
    text = fooling.page(None, made)
    assert "Table I" in text
    assert "Table II:" not in text
    assert "Table III" not in text


def test_the_default_detector_is_told_with_its_weak_sides(fooling: Any) -> None:
    found = {
        "accuracy": 0.91, "accuracy_ci95": [0.88, 0.94], "auroc": 0.97, "fakes_passed": 0.05, "calibration_error": 0.03,
        "recall": 0.96,
    }  # fmt: skip
    cell = {"unprotected": 0.9, "protected": 0.895, "difference_points": -0.5, "answers_that_differ": 0.02}
    light = {"as they are": {"reals": 0.97, "fakes": 0.0}}
    light["at 15 % of their light, with grain"] = {"reals": 0.9, "fakes": 0.4}
    clips = [("a", True, "test", 0.75), ("b", False, "test", 1.0), ("c", True, "train", 0.0)]
    row = {
        "network": "resnet18", "parameters": 700000, "settings": {"size": 128}, "steps": 9, "minutes": 3.0,
        "fakes": [
            {"generator": "stargan", "seen": True, "by_delivery": {"8 bits": found}, "passed_by_change": light},
            {
                "generator": "cyclegan", "seen": False,
                "passed_by_change": {name: cell | {"fakes": 0.6} for name, cell in light.items()},
                "by_delivery": {"8 bits": found | {"fakes_passed": 0.27}},
            },
        ],
        "together": {"generators": ["stargan"], "by_delivery": {"h264 crf 23": found | {"accuracy": 0.93}}},
        "deepfake_videos": [
            {"clip": c, "fake": f, "split": s, "passed_as_real": p} for c, f, s, p in clips
        ],
        "real_videos": [
            {"clip": "s", "frames": 8, "passed_as_real": 0.25, "p_real_mean": 0.3, "face_px": 70},
            {"clip": "t", "frames": 8, "passed_as_real": 0.75, "p_real_mean": 0.7, "face_px": 180},
        ],
        "protection": [
            {"of": "stills", "count": 5, "passed_as_real": {"8 bits": cell, "jpeg": cell | {"difference_points": 1}}},
            {"of": "fakes of stargan", "count": 5, "passed_as_real": {"8 bits": cell | {"difference_points": 2.0}}},
            {"of": "fakes of cyclegan", "count": 5, "passed_as_real": {"8 bits": cell | {"difference_points": 8.25}}},
        ],
    }  # fmt: skip
    made = json.loads(json.dumps({"command": "x", "rows": [row]}))
    text = fooling.page(made, None)
    assert "8-bit integers" not in text
    assert "62% of the frames are judged rightly" in text
    assert "-0.5 points" in text
    assert "never saw,\n93.0% after H.264 crf 23 (all" in text
    assert "27 to 27 % pass, by delivery" in text
    assert "held out it passes 1 of 1." in text
    assert (
        "At 15 % of their light 90% of the reals pass, and of the fakes 40% (stargan), 60% (cyclegan) ([below]" in text
    )
    assert "| pictures | reals that pass | fakes of stargan | fakes of cyclegan |" in text
    assert "| at 15 % of their light, with grain | 90% | 40% | 60% |" in text
    assert "-0.5 to +1.0 points more of the real stills pass" in text
    assert (
        "of the fakes +2.0 to +2.0 points more where it was taught their surrogate, +8.2 to +8.2 points where" in text
    )
    assert "2 real videos of other people (some show the same one) 50% pass as real" in text
    assert "of 1 of them most frames do" in text
    assert "at least 98 px wide, so that the stage judges them, most frames pass in 1 of 1" in text
    assert "91.0% (88.0% to 94.0%)" in text
    found |= {"accuracy": 0.905, "recall": 0.95}
    small = json.loads(json.dumps({"command": "y", "rows": [row]}))
    text = fooling.page(made, None, int8=small)
    assert "| stargan | 8 bits | 91.0% | 90.5% | 0.970 | 0.970 | 96.0% | 95.0% |" in text
    assert "`y`" in text
