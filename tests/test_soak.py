"""What scripts/soak.py computes; the soak itself is run by hand."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
PAGE = """# HELP stream_guard_frames_in_total x
stream_guard_frames_in_total{stream="a"} 10.0
stream_guard_frames_in_total{stream="b"} 5.0
stream_guard_frames_out_total{stream="a"} 6.0
stream_guard_frames_out_total{stream="b"} 5.0
stream_guard_frames_dropped_total{reason="late",stream="a"} 3.0
stream_guard_frames_in_flight{stream="a"} 1.0
stream_guard_worker_restarts_total{reason="crashed"} 2.0
stream_guard_unprotected_frames_total{reason="too_small",stream="b"} 0.0
"""


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("soaking.measures")


def test_the_account_adds_up_over_streams(measures: ModuleType) -> None:
    account = measures.account(measures.parsed(PAGE))
    assert (account["frames_in"], account["frames_out"], account["in_flight"]) == (15, 11, 1)
    assert (account["dropped"], account["unprotected"], account["missing"]) == ({"late": 3}, {}, 0)
    lost = measures.account(measures.parsed(PAGE.replace("} 6.0", "} 4.0")))
    assert lost["missing"] == 2


def test_a_difference_is_what_happened_since(measures: ModuleType) -> None:
    before, after = (measures.account(measures.parsed(text)) for text in (PAGE, PAGE.replace("} 3.0", "} 4.0")))
    changed = measures.difference(after, before)
    assert changed["dropped"] == {"late": 1}
    assert (changed["frames_in"], changed["worker_restarts"], changed["missing"]) == (0, {}, -1)


def test_the_slope_is_an_hours_and_one_outlier_tilts_it_not(measures: ModuleType) -> None:
    times = [10.0 * n for n in range(30)]
    values = [100 + time / 3600 * 6 for time in times]
    values[7] += 50
    slope = measures.slope(times, values)
    assert slope["an_hour"] == pytest.approx(6, abs=0.1)
    assert slope["low"] <= 6.001
    assert slope["high"] >= 5.999
    assert measures.slope(times[:7], values[:7]) is None


def test_its_help_names_every_option() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "soak.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert all(option in done.stdout for option in ("--minutes", "--streams", "--cycles", "--only"))
