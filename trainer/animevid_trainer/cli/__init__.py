"""The trainer's commands: train, paint, distill, export, evaluate, import; and for faces from noise: faces, sample,
project.

All parsing and printing is here.

``COMMANDS[name]`` has ``add_parser(subparsers)`` and ``run(args) -> int``, as every command of ``animevid`` does. Exit
codes: 0 done, 130 stopped on request (the run can be resumed), else the error's own.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from animevid.errors import AnimevidError

from animevid_trainer.cli import distill, evaluate, faces, project, sample, styles, survey, train
from animevid_trainer.cli.command import Command

# Threads that spin while waiting take processor time from other programs. torch reads this when it is loaded, which
# only the commands below do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        train.TRAIN,
        *distill.COMMANDS,
        *styles.COMMANDS,
        evaluate.EVALUATE,
        survey.SURVEY,
        faces.FACES,
        sample.SAMPLE,
        project.PROJECT,
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m animevid_trainer``: returns the exit code; bad input is one line on stderr."""
    parser = argparse.ArgumentParser(prog="animevid_trainer")
    subparsers = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS.values():
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(args.verbose, 2)]
    logging.basicConfig(level=level, format="animevid: %(message)s", stream=sys.stderr, force=True)
    try:
        return COMMANDS[args.command].run(args)
    except AnimevidError as error:
        print(f"animevid: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone. Redirect stdout, or Python complains again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
