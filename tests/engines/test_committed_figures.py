"""What is committed beside the results: commands that can still be given, and figures that are those of the results."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.shipping import RESULTS
from stream_guard.inference import find_engine, list_engines

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import results  # noqa: E402


def in_json(made: object) -> Iterator[str]:
    if isinstance(made, dict | list):
        for part in made.values() if isinstance(made, dict) else made:
            yield from in_json(part)
    elif isinstance(made, str) and made.startswith("python -m engines"):
        yield made


def in_blocks(page: str) -> Iterator[str]:
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found = [part.split(" #")[0].split(" > ")[0].strip() for line in lines for part in line.split(" && ")]
        yield from (part for part in found if part.startswith("python -m engines"))


def committed() -> list[str]:
    """The commands of the results, of the cards and of the pages' blocks."""
    found = [card.command for card in list_engines() if card.command.startswith("python -m engines")]
    for path in RESULTS.glob("*.json"):
        found += in_json(json.loads(path.read_text(encoding="utf-8")))
    for path in (ROOT / "docs").glob("*.md"):
        found += in_blocks(path.read_text(encoding="utf-8"))
    return sorted(set(found))


class UnderstoodError(Exception):
    """A command line that its parser took."""


@pytest.mark.parametrize("command", committed())
def test_a_committed_command_can_still_be_given(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, module, *words = shlex.split(command)
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, *given: Any) -> argparse.Namespace:
        parse(parser, *given)
        raise UnderstoodError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr("sys.argv", [module, *words])
    name = "engines.__main__" if module == "engines" else module
    with pytest.raises(UnderstoodError):
        importlib.import_module(name).main()


def test_the_card_of_the_disrupter_says_what_the_results_say() -> None:
    card, table = find_engine(None, "disrupter"), results.load("delivered")
    if table["disrupter_sha256"] != card.sha256:
        pytest.skip("delivered.json is of another disrupter")
    for row in table["rows"]:
        where = f"{row['family']}_face{row['width']}px_crf{row['crf']}"
        for key in ("disrupted", "ci95", "face_psnr_db"):
            assert card.results[f"{key}_{where}"] == row["disrupter"][key], (key, where)


def test_the_sides_are_compared_with_the_loading_of_engines_too() -> None:
    """Two turns: ours takes 1 s and as much again to load, the naive loop 4 s with its loading."""
    sides = {
        "ours": {"seconds": [1.0, 1.0], "wall_seconds": [2.0, 2.0]},
        "naive": {"seconds": [4.0, 4.0], "wall_seconds": [4.0, 4.0]},
        "deface": {"frames": 49},
    }
    run = {"sides": sides, "backend": "openvino", "ratios": {"ours_to_plain_with_loading": {"median": 0.5}}}
    said = results._fairly([run])
    assert "`deface` had 49 frames" in said
    assert "ours comes to x0.50 and x2.00 on openvino (1.00 s) against" in said
