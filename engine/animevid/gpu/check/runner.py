"""Runs the sections, each in a separate process, within a time budget; writes findings immediately.

A lost GPU or a crashing library in one section does not affect the others. The sections' processes append to
``findings.jsonl``; ``report.md`` is rewritten after each section.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from animevid.errors import OutputError
from animevid.gpu.check.findings import CheckOptions, Finding
from animevid.gpu.check.sections import SECTIONS, Section

FINDINGS, REPORT = "findings.jsonl", "report.md"
#: A section is not started with less time than this, the time to open a GPU and a network.
_MIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a section ended. ``verdict``: ``agrees``, ``skipped``, ``differs`` or ``failed``."""

    section: Section
    verdict: str
    reason: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.verdict in ("agrees", "skipped")

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.section.title}: {self.verdict}{reason} ({self.seconds:.0f} s)"


def run_sections(
    folder: Path,
    options: CheckOptions,
    *,
    budget_seconds: float,
    title: str,
    sections: Sequence[Section] = SECTIONS,
    command: Sequence[str] = (sys.executable, "-m", "animevid.gpu.check"),
) -> Iterator[Result]:
    """Run the sections; yields the result of each when it ends.

    Args:
        folder (Path): for ``findings.jsonl`` and ``report.md``; created if it is missing.
        options (CheckOptions): the sections' options.
        budget_seconds (float): time limit for all sections together.
        title (str): the report's heading.
        sections (Sequence[Section]): default: all.
        command (Sequence[str]): runs a section; the section's name, the file and the options are appended.

    Raises:
        OutputError: the folder cannot be written.
    """
    findings = folder / FINDINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        findings.write_text("")
    except OSError as error:
        raise OutputError(f"{str(folder)!r} cannot be written ({error.strerror}); give another --out") from error
    until = time.monotonic() + budget_seconds
    results: list[Result] = []
    for section in sections:
        left = until - time.monotonic()
        if left < _MIN_SECONDS:
            result = Result(section, "skipped", f"the budget of {budget_seconds:.0f} s is used up", (), 0.0)
        else:
            result = _run(section, findings, replace(options, limit_seconds=min(section.limit_seconds, left)), command)
        results.append(result)
        (folder / REPORT).write_text(report(title, results))
        yield result


def _run(section: Section, findings: Path, options: CheckOptions, command: Sequence[str]) -> Result:
    already = findings.stat().st_size
    begun = time.monotonic()
    whole = [*command, section.name, str(findings), options.to_json()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        whole, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=environment,
        start_new_session=True,
    )  # fmt: skip
    said, ended = "", True
    try:
        _, said = process.communicate(timeout=options.limit_seconds)
    except subprocess.TimeoutExpired:
        ended = False
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its children, such as a remaining sanitizer
    if not ended:
        process.communicate()
    seconds = time.monotonic() - begun
    found, closing = _read(findings, already)
    last = (said.strip().splitlines() or ["nothing said"])[-1][:200]
    if not ended and options.limit_seconds < section.limit_seconds and all(f.agrees is not False for f in found):
        return Result(section, "skipped", f"the budget ended it after {seconds:.0f} s", found, seconds)
    if not ended:
        reason = f"no end after {options.limit_seconds:.0f} s"
    elif closing is None:
        reason = f"its process ended with {process.returncode} ({last})"
    elif "failed" in closing:
        reason = str(closing["failed"])
    elif any(finding.agrees is False for finding in found):
        return Result(section, "differs", "", found, seconds)
    elif "skipped" in closing:
        return Result(section, "skipped", str(closing["skipped"]), found, seconds)
    elif not any(finding.agrees for finding in found):
        reason = "it compared nothing"
    else:
        return Result(section, "agrees", "", found, seconds)
    return Result(section, "failed", reason, found, seconds)


def _read(findings: Path, start: int) -> tuple[tuple[Finding, ...], dict[str, object] | None]:
    """The appended findings, and the closing line of a section that finished."""
    found: list[Finding] = []
    closing: dict[str, object] | None = None
    with findings.open(encoding="utf-8", errors="replace") as file:
        file.seek(start)
        for line in file:
            with suppress(ValueError):  # truncated by the end of its process
                said = json.loads(line)
                if "text" in said:
                    found.append(Finding(said["text"], said["agrees"]))
                else:
                    closing = said
    return tuple(found), closing


def run_here(section: Section, findings: Path, options: CheckOptions) -> None:
    """One section in this process; each finding is appended to the file at once."""
    from animevid.backends.base import one_line
    from animevid.gpu.check.findings import Skipped

    with findings.open("a", encoding="utf-8") as file:

        def write(**said: object) -> None:
            file.write(json.dumps({"section": section.name, **said}) + "\n")
            file.flush()

        try:
            for finding in section.work(options):
                write(text=finding.text, agrees=finding.agrees)
            write(ended=True)
        except Skipped as skipped:
            write(skipped=str(skipped))
        except Exception as error:  # the report gives the reason; the other sections still run
            write(failed=one_line(error))


_MARKS: dict[bool | None, str] = {True: "agrees", False: "**DIFFERS**", None: ""}


def report(title: str, results: Sequence[Result]) -> str:
    """Markdown: a table of verdicts, then each section's findings."""
    lines = ["# GPU check", "", title, "", "| section | verdict | seconds |", "|---|---|---:|"]
    lines += [f"| {r.section.title} | {r.verdict} | {r.seconds:.0f} |" for r in results]
    for result in results:
        lines += ["", f"## {result.section.title}", ""]
        if result.reason:
            lines += [f"{result.verdict}: {result.reason}", ""]
        lines += [f"- {f.text}{f': {_MARKS[f.agrees]}' if f.agrees is not None else ''}" for f in result.findings]
    return "\n".join(lines).rstrip() + "\n"
