"""A batcher is a session: what every backend promises of one, asked of a batcher in front of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_guard.inference import Batcher, Session, load_card, open_session

from ..support.engines import write_disrupter
from . import test_session_contract as contract

BACKEND = "onnxruntime"


@pytest.fixture
def backend() -> str:
    return BACKEND


@pytest.fixture
def tolerance() -> float:
    return contract.ABSOLUTE["fp32"]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engine = load_card(write_disrupter(tmp_path, "follows", size=contract.SIZE, grid=contract.GRID))
    shared = Batcher(open_session(engine, BACKEND), max_batch=4)
    yield shared
    shared.close()


test_it_names_its_backend_inputs_and_outputs = contract.test_it_names_its_backend_inputs_and_outputs
test_any_batch_gives_the_right_numbers = contract.test_any_batch_gives_the_right_numbers
test_outputs_stay_valid_after_the_next_run = contract.test_outputs_stay_valid_after_the_next_run
test_inputs_are_neither_kept_nor_changed = contract.test_inputs_are_neither_kept_nor_changed
test_a_view_with_strides_is_taken = contract.test_a_view_with_strides_is_taken
test_feeds_that_do_not_fit_are_refused = contract.test_feeds_that_do_not_fit_are_refused
test_it_runs_on_another_thread_than_it_was_opened_on = contract.test_it_runs_on_another_thread_than_it_was_opened_on
test_closing_twice_is_fine_and_running_after_it_is_not = contract.test_closing_twice_is_fine_and_running_after_it_is_not
