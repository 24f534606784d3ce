"""The temporary folder of a command: private, gone whatever ends the block, also a signal that comes at once."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream_guard.scratch import scratch_folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_is_private_and_goes_with_what_is_in_it(place: Path) -> None:
    with scratch_folder("stream-guard-test-") as folder:
        assert folder.parent == place
        assert folder.name.startswith("stream-guard-test-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "clip.mp4").write_bytes(b"x")
    assert list(place.iterdir()) == []


def test_two_have_two_names() -> None:
    with scratch_folder() as first, scratch_folder() as second:
        assert first != second


def test_a_signal_between_making_it_and_the_block_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Path.mkdir

    def interrupted(self: Path, mode: int) -> None:
        made(self, mode=mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch_folder():
        pass
    assert list(place.iterdir()) == []


def test_where_none_can_be_made_nothing_is_taken_away(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place / "nowhere"))
    with pytest.raises(FileNotFoundError), scratch_folder():
        pass
