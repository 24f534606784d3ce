"""What research writes: whole, or what was there before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from engines import export
from engines.magdr import calibrate, faces
from engines.writing import whole, write_json
from stream_guard.errors import EngineError
from stream_guard.magdr.calibration import load_calibration


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_calibration_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "magdr.toml"
    calibrate.write(load_calibration(), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EngineError, match=r"magdr.toml could not be written .*No space left.* what was there is kept"):
        calibrate.write(load_calibration(), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["magdr.toml"]


def test_what_is_cut_off_in_the_middle_was_never_there(tmp_path: Path) -> None:
    def cut_off() -> None:
        with whole(tmp_path / "new" / "x.npz") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert os.listdir(tmp_path / "new") == []


def test_a_link_leads_to_the_new_file_and_a_device_takes_it_directly(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "x.json")
    write_json(tmp_path / "link.json", [1])
    assert (tmp_path / "x.json").read_text() == "[\n 1\n]\n"
    assert (tmp_path / "link.json").is_symlink()
    write_json(Path(os.devnull), [1])
    assert not Path(os.devnull).is_file()


def test_a_cut_off_file_of_the_work_folder_is_said(tmp_path: Path) -> None:
    cache = tmp_path / "val-clean.npz"
    with whole(cache) as file:
        np.savez(file, distances=np.zeros(3))
    assert list(faces.arrays_in(cache)) == ["distances"]
    for part in (cache.read_bytes()[:40], b""):
        cache.write_bytes(part)
        with pytest.raises(EngineError, match=r"val-clean.npz was cut off.* delete it to make it anew"):
            calibrate.read_evidence(cache)


def test_an_export_without_room_leaves_the_network_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, example = tmp_path / "model.onnx", {"image": torch.zeros(2, 1)}
    path.write_bytes(b"before")

    def half(network: torch.nn.Module, example: object, scratch: str, **_: object) -> None:
        Path(scratch).write_bytes(b"half")
        full()

    monkeypatch.setattr(torch.onnx, "export", half)
    with pytest.raises(EngineError, match=r"model.onnx could not be written .*No space left"):
        export.to_onnx(torch.nn.Linear(1, 1), example, "out", path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["model.onnx"]
