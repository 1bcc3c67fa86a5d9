"""What a command of the trainer is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command, for the engine's command line and for ``python -m animevid_trainer``."""

    name: str
    summary: str
    fill: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]

    def add_parser(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        parser = subparsers.add_parser(
            self.name,
            help=self.summary,
            description=self.summary[0].upper() + self.summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.fill(parser)
        parser.add_argument("-v", "--verbose", action="count", default=0, help="say more (-vv: everything)")
