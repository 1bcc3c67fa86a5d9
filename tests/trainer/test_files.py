"""Files of the trainer are whole or not there, and readable like any other file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from animevid import trusted_files
from animevid.errors import OutputError
from animevid_trainer.files import write_file


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "run.json"
    write_file(path, "old")
    monkeypatch.setattr(trusted_files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"run\.json' cannot be written \(No space left on device\)"):
        write_file(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("run.json", "old")]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_file_has_the_permissions_of_any_new_one_and_engines_are_their_owners_alone(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_file(tmp_path / "folder" / "style.onnx", b"style")
    trusted_files.atomic_write(tmp_path / "private" / "engine", b"engine")
    assert (tmp_path / "folder" / "style.onnx").stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "private" / "engine").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
