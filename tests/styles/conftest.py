"""Each test has its own home folder, so that the developer's styles and downloads are not used."""

from __future__ import annotations

from pathlib import Path

import pytest
from animevid.styles import folders


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "_base", lambda variable, unix, mac: tmp_path / "home" / unix)
    return tmp_path / "home"


@pytest.fixture
def user_styles(home: Path) -> Path:
    folder = folders.user_styles_folder()
    folder.mkdir(parents=True)
    return folder
