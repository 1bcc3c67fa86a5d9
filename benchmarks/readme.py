"""Writes the speed table of README from benchmarks/RESULTS.md: ``python -m benchmarks.readme``, and ``make bench``."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from animevid.options import StyleOptions
from animevid.styles import Style, open_style

_ROOT = Path(__file__).resolve().parent.parent
_OF_OLD = (
    "**These figures are of an earlier version of the styles.** Today's networks are larger and slower "
    "([docs/styles.md](docs/styles.md#speed))."
)
_BEGIN, _END = "<!-- begin of speed: python -m benchmarks.readme -->\n", "<!-- end of speed -->\n"


@dataclass(frozen=True, slots=True)
class Measured:
    """One size of RESULTS.md."""

    size: str
    fps: float
    runs: tuple[float, ...]
    first_frame_seconds: float
    peak_mb: int


def read_results(text: str) -> list[Measured]:
    """What ``benchmarks.__main__.report`` wrote, size by size."""
    found = []
    for size, section in re.findall(r"^## (\d+x\d+)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL):
        fps, peak, runs = re.findall(r"^engine +([\d.]+) +[\d.]+ +(\d+) +\[(.*)\]$", section, flags=re.MULTILINE)[0]
        first = re.findall(r"start to first frame written: ([\d.]+) s", section)[0]
        found.append(Measured(size, float(fps), tuple(map(float, runs.split(", "))), float(first), int(peak)))
    return found


def fingerprint(style: Style) -> str:
    """Tells the files of a style from those of its earlier versions."""
    whole, small = style.model, style.int8()
    return hashlib.sha256(whole + (b"" if small is None else small.model)).hexdigest()[:12]


def is_of_today(text: str) -> bool:
    """Whether the style of RESULTS.md is the one that ships."""
    found = re.search(r"^- style: (\w+) \((\w+)\),", text, flags=re.MULTILINE)
    return found is not None and fingerprint(open_style(StyleOptions(style=found[1]))) == found[2]


def speed_section(text: str) -> str:
    """README's part, from the text of RESULTS.md."""
    rows = read_results(text)
    _, processor, cores = re.findall(r"^- (\S+), (.*), (\d+) cores, ", text, flags=re.MULTILINE)[0]
    lines = [
        f"| file to file, x264 veryfast, `aozora`, {cores} cores of an {processor} | frames a second |",
        "|---|---:|",
        *(f"| {row.size} | {row.fps:.0f} ({min(row.runs):.0f} to {max(row.runs):.0f}) |" for row in rows),
    ]
    for size, fps in re.findall(r"^AnimeGANv2 in the naive loop at (\S+): ([\d.]+) fps", text, flags=re.MULTILINE):
        lines.append(f"| {size}, a naive loop around AnimeGANv2 | {fps} |")
    first, largest = [row.first_frame_seconds for row in rows], rows[-1]
    lines += [
        "",
        f"The first frame is written {min(first):.1f} to {max(first):.1f} s after the start; {largest.size} takes "
        f"{largest.peak_mb} MB.",
    ]
    if not is_of_today(text):
        lines += ["", _OF_OLD]
    return "\n".join(lines) + "\n"


def with_speed(readme: str, results: str) -> str:
    """``readme`` with the part between its marks written anew."""
    before, _, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise SystemExit(f"README.md lacks {_BEGIN.strip()!r} or {_END.strip()!r}: nothing is written")
    return f"{before}{_BEGIN}{speed_section(results)}{_END}{after}"


def main() -> int:
    path = _ROOT / "README.md"
    results = (_ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    path.write_text(with_speed(path.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(f"{path}: the speed table is that of benchmarks/RESULTS.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
