"""Breaks a copy of a package in one place at a time and runs tests on it; shared by ``mutations*.py``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_OUTPUT = "output.txt"


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replaces ``old``, which occurs once in ``file``, by ``new``; ``tests`` are pytest's arguments."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Mutator:
    """Applies mutations to copies of ``package``.

    Args:
        package: the folder to copy; all files but the mutated one are links.
        preloaded: modules that no mutation changes, imported once before the forks.
        words: pytest's other arguments.
        refused: exit codes of pytest that mean an error of the run, not a detected mutation.
        prepare: called once after the imports. Default: nothing.
        timeout_seconds: a hang of this length counts as a detected mutation.
    """

    package: Path
    preloaded: tuple[str, ...]
    words: tuple[str, ...]
    refused: tuple[int, ...] = (5,)
    prepare: Callable[[], None] = lambda: None
    timeout_seconds: int = 240

    def gone(self, mutations: Sequence[Mutation]) -> list[Mutation]:
        """The mutations whose code snippet no longer occurs exactly once and must be rewritten."""
        return [m for m in mutations if (self.package / m.file).read_text(encoding="utf-8").count(m.old) != 1]

    def run(self, mutations: Sequence[Mutation]) -> list[Mutation]:
        """The mutations that no test detects, printed as they are found."""
        for name in self.preloaded:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self.prepare()
        survivors: list[Mutation] = []
        for mutation in mutations:
            with tempfile.TemporaryDirectory() as folder:
                caught_by = self._caught_by(mutation, Path(folder))
            verdict = "SURVIVED" if caught_by is None else "caught  "
            print(f"{verdict}  {mutation.file}: {mutation.what}", f"({caught_by})" if caught_by else "", flush=True)
            if caught_by is None:
                survivors.append(mutation)
        caught = len(mutations) - len(survivors)
        print(f"{caught} of {len(mutations)} mutations caught ({caught / max(1, len(mutations)):.0%})")
        return survivors

    def main(
        self,
        mutations: Sequence[Mutation],
        arguments: Sequence[str] | None,
        *,
        script: str,
        about: str,
        allowed: float = 0.0,
    ) -> int:
        """The command line of ``script``; with ``arguments``, in a separate process (this one imported the package)."""
        parser = argparse.ArgumentParser(description=about.splitlines()[0])
        parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth mutation only")
        parser.add_argument("--start", type=int, default=0, metavar="N", help="from the Nth mutation on")
        parser.add_argument(
            "--only", default="", metavar="WORD", help="mutations with this in their description or file"
        )
        parser.add_argument("--allowed", type=float, default=allowed, help="share of survivors that is no failure")
        args = parser.parse_args(arguments)
        if arguments is not None:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            return subprocess.run([sys.executable, script, *arguments], check=False, env=environment).returncode
        lost = self.gone(mutations)
        for mutation in lost:
            print(f"GONE      {mutation.file}: {mutation.what}")
        if lost:
            return 1
        chosen = [m for m in mutations if args.only in m.what or args.only in m.file][args.start :: args.every]
        return 1 if len(self.run(chosen)) > args.allowed * len(chosen) else 0

    def _caught_by(self, mutation: Mutation, folder: Path) -> str | None:
        """What fails on a copy with ``mutation``, in a separate process; ``None`` if all tests pass."""
        copy = folder / self.package.name
        shutil.copytree(self.package, copy, copy_function=_link, ignore=shutil.ignore_patterns("__pycache__"))
        broken = copy / mutation.file
        source = broken.read_text(encoding="utf-8")
        if source.count(mutation.old) != 1:
            raise SystemExit(
                f"{mutation.what}: {mutation.old!r} is {source.count(mutation.old)} times in {mutation.file}"
            )
        broken.unlink()
        broken.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
        child = os.fork()
        if child == 0:
            code = 3
            try:
                code = self._run_tests(mutation.tests, folder)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])  # negative: ended by a signal after a hang
        if code in self.refused:
            raise SystemExit(f"{mutation.what}: pytest ended with {code}")
        if code < 0:
            return f"no end within {self.timeout_seconds} seconds"
        return _first_failure(folder / _OUTPUT) if code else None

    def _run_tests(self, tests: Sequence[str], folder: Path) -> int:
        """Run the tests on the package in ``folder``; for a separate process."""
        import pytest

        signal.alarm(self.timeout_seconds)
        others = [path for path in sys.path if Path(path or ".").resolve() != self.package.parent]
        sys.path[:] = [str(folder), *others]
        os.environ["PYTHONPATH"] = os.pathsep.join((str(folder), str(ROOT / "engine"), str(ROOT / "trainer")))
        sys.dont_write_bytecode = True
        os.chdir(ROOT)
        with (
            (folder / _OUTPUT).open("w", encoding="utf-8") as output,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            return int(pytest.main([*self.words, *tests]))


def _first_failure(output: Path) -> str:
    """The first test in pytest's summary, or its last line."""
    lines = output.read_text(encoding="utf-8").splitlines()
    names = (line.split(" ", 1)[1].split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR ")))
    return next(names, lines[-1] if lines else "no output")


def _link(source: str, target: str) -> None:
    os.symlink(os.path.abspath(source), target)
