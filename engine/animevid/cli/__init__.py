"""The command line: one module a command; parsing and printing live here and nowhere else."""

from animevid.cli.app import main

__all__ = ["main"]
