"""What a command that counts pictures says of where it stands."""

from __future__ import annotations

import pytest

from stream_guard.commands import counting


@pytest.mark.parametrize(
    ("quiet", "said"), [(False, ["stream-guard: auditing: 3 of about 5 pictures"]), (True, [])], ids=["said", "quiet"]
)
def test_where_there_is_no_terminal_a_line_is_said_now_and_then(
    quiet: bool, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(counting, "monotonic", lambda: now)
    with counting.counting("auditing", quiet) as count:
        for done in range(1, 6):
            now += 4
            count(done, 5)
    assert capsys.readouterr().err.splitlines() == said
