"""Suggests the nearest option, choice or command for a misspelled one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from animevid.suggestions import nearest


def with_suggestion(message: str, flags: Iterable[str]) -> str:
    """argparse's ``message`` with a suggestion from ``flags`` or from the choices that it lists."""
    if unknown := re.match(r"unrecognized arguments: .*?(--[\w-]+)", message):
        flag = nearest(unknown[1], flags)
        return message if flag is None else f"{unknown[1]} is no option; did you mean {flag}?"
    if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
        meant = nearest(choice[1], re.findall(r"[^\s,']+", choice[2]))
        return message if meant is None else f"{message}; did you mean {meant}?"
    return message


def misspelled_command(word: str, commands: Iterable[str]) -> str | None:
    """The command that ``word`` is a misspelling of, unless it may be an input's name."""
    if not re.fullmatch(r"[A-Za-z]+", word) or Path(word).exists():
        return None
    return nearest(word, commands, likeness=0.75)
