"""What someone probably meant: the nearest option, choice or command."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

#: Other names of what is a choice here.
_OTHER_NAMES = {
    "h265": "hevc",
    "h.265": "hevc",
    "x265": "hevc",
    "libx265": "hevc",
    "h.264": "h264",
    "x264": "h264",
    "libx264": "h264",
    "avc": "h264",
}


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The one of ``known`` that ``word`` stands for or is a slip of; ``None``: nothing is near."""
    names = list(known)
    other = _OTHER_NAMES.get(word.lower())
    if other in names:
        return other
    return next(iter(get_close_matches(word.lower(), names, n=1, cutoff=likeness)), None)


def with_suggestion(message: str, flags: Iterable[str]) -> str:
    """``message`` of argparse with what was probably meant, of ``flags`` or of the choices that it lists."""
    if unknown := re.match(r"unrecognized arguments: .*?(--[\w-]+)", message):
        flag = nearest(unknown[1], flags)
        return message if flag is None else f"{unknown[1]} is no option; did you mean {flag}?"
    if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
        meant = nearest(choice[1], re.findall(r"[^\s,']+", choice[2]))
        return message if meant is None else f"{message}; did you mean {meant}?"
    return message


def misspelled_command(word: str, commands: Iterable[str]) -> str | None:
    """The command that ``word`` is a slip of, unless it is or may be the name of an input."""
    if not re.fullmatch(r"[A-Za-z]+", word) or Path(word).exists():
        return None
    return nearest(word, commands, likeness=0.75)
