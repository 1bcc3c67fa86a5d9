"""Folders of a user's styles and caches, by each platform's convention."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_styles_folder() -> Path:
    """``~/.local/share/animevid/styles`` (``$XDG_DATA_HOME``), ``~/Library/Application Support/animevid/styles`` on
    macOS, ``%LOCALAPPDATA%\\animevid\\styles`` on Windows. It need not exist.
    """
    return _base("XDG_DATA_HOME", ".local/share", "Library/Application Support") / "animevid" / "styles"


def cache_folder() -> Path:
    """``~/.cache/animevid`` (``$XDG_CACHE_HOME``), ``~/Library/Caches/animevid`` on macOS,
    ``%LOCALAPPDATA%\\animevid`` on Windows. Its content can be recreated.
    """
    return _base("XDG_CACHE_HOME", ".cache", "Library/Caches") / "animevid"


def _base(variable: str, unix: str, mac: str) -> Path:
    # mypy knows which platform it runs on and would call the others unreachable.
    platform: str = sys.platform
    if platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if platform == "darwin":
        return Path.home() / mac
    configured = os.environ.get(variable, "")
    # The XDG Base Directory Specification: a relative path is invalid and is ignored.
    return Path(configured) if os.path.isabs(configured) else Path.home() / unix
