"""Whatever is sent, the answer is one that the OpenAPI document promises, and never a 500."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import negative_data_rejection, not_a_server_error
from schemathesis.generation import GenerationMode

from stream_guard.daemon.api import describe
from tests.daemon.api_server import Running, running
from tests.support.control_fake import FakeControl

DOCUMENT = describe()
for _methods in DOCUMENT["paths"].values():
    for _operation in _methods.values():
        _operation.pop("security", None)  # tokens have tests of their own
OPERATIONS = {
    operation.ok().label: operation.ok() for operation in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
}
WITH_INPUT = [
    f"{method.upper()} {path}"
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "parameters" in operation or "requestBody" in operation
]
FEW, MANY = 12, 100
WITH_BODY = ("POST", "PUT")
"""Their bodies are read as the YAML file is: true is a number there, and a number may stand in quotes."""


def no_server_error(answer: requests.Response) -> None:
    """503 is an answer that the API means: no headroom, not ready."""
    assert answer.status_code < 500 or answer.status_code == 503, answer.text


@pytest.fixture(scope="module")
def api() -> Iterator[Running]:
    """Any source is good enough, so that answers of every kind come; event streams end at once."""
    control = FakeControl(most_streams=50)
    control.schemes = ("",)
    control.closed = True
    with running(control) as served:
        yield served


def fuzz(api: Running, label: str, mode: GenerationMode, examples: int) -> None:
    with requests.Session() as session:
        session.trust_env = False

        @settings(
            max_examples=examples,
            derandomize=examples == FEW,  # the same cases at every commit; the long run looks for new ones
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            excluded = [not_a_server_error, *([negative_data_rejection] if case.method in WITH_BODY else [])]
            answer = case.call_and_validate(base_url=api.server.url, session=session, excluded_checks=excluded)
            no_server_error(answer)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the generators
            ask()


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_allowed_is_answered_as_documented(api: Running, label: str) -> None:
    fuzz(api, label, GenerationMode.POSITIVE, FEW)


@pytest.mark.parametrize("label", WITH_INPUT)
def test_what_is_not_allowed_is_refused_as_documented(api: Running, label: str) -> None:
    fuzz(api, label, GenerationMode.NEGATIVE, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS)
def test_long_fuzz(api: Running, label: str) -> None:
    fuzz(api, label, GenerationMode.POSITIVE, MANY)
    if label in WITH_INPUT:
        fuzz(api, label, GenerationMode.NEGATIVE, MANY)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=300) | st.text().map(str.encode), path=st.sampled_from(["/v1/streams", "/v1/jobs"]))
def test_bytes_that_are_no_json_are_refused(api: Running, body: bytes, path: str) -> None:
    answer = api.http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]
