"""The README's links work, here and on a package index, and its figures match the measurements."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from animevid.options import StyleOptions
from animevid.styles import open_style

from benchmarks.readme import fingerprint, with_speed

_ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\(([^)\s]*)\)")


def readme() -> str:
    return (_ROOT / "README.md").read_text(encoding="utf-8")


def test_every_link_of_the_checkout_leads_to_a_file() -> None:
    links = [link for link in _LINK.findall(readme()) if "://" not in link]
    assert len(links) > 20
    assert [link for link in links if not (_ROOT / link.partition("#")[0]).exists()] == []


def test_what_an_index_shows_has_no_link_that_leads_nowhere_there() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    assert "readme" in project["project"]["dynamic"]
    provider = project["tool"]["scikit-build"]["metadata"]["readme"]["provider"]
    assert provider == "scikit_build_core.metadata.fancy_pypi_readme"
    if importlib.util.find_spec("hatch_fancy_pypi_readme") is None:
        pytest.skip("hatch-fancy-pypi-readme is not installed")
    command = [sys.executable, "-m", "hatch_fancy_pypi_readme", "pyproject.toml"]
    shown = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    assert [link for link in _LINK.findall(shown) if not link.startswith("https://")] == []
    assert "![" not in shown
    assert "on no package index yet" in shown
    for heading in re.findall(r"^## .*$", readme(), flags=re.MULTILINE):
        assert heading in shown


def measured() -> dict[str, list[str]]:
    """The first table of RESULTS.md: size -> the other cells."""
    text = (_ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d+x\d+ \|", line)]
    return {size: cells for size, *cells in rows}


def agrees(shown: str, value: float) -> bool:
    """Whether ``shown`` is ``value``, rounded to as many places as ``shown`` has."""
    return abs(float(shown) - value) <= 0.5 * 10.0 ** -len(shown.partition(".")[2]) + 1e-9


def test_the_figures_of_the_speed_table_are_those_that_were_measured() -> None:
    results = (_ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    section = readme().partition("## Speed")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+x\d+) \| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \|$", section, flags=re.MULTILINE)
    sizes = measured()
    assert [size for size, *_ in rows] == list(sizes)
    for size, fps, least, most in rows:
        part = results.partition(f"## {size}\n")[2]
        runs = [float(run) for run in re.findall(r"^engine .*\[(.*)\]$", part, flags=re.MULTILINE)[0].split(", ")]
        assert agrees(fps, float(sizes[size][0])), size
        assert agrees(least, min(runs)), size
        assert agrees(most, max(runs)), size
    peers = re.findall(r"AnimeGANv2 \| ([\d.]+) \|$", section, flags=re.MULTILINE)
    assert peers == re.findall(r"AnimeGANv2 in the naive loop at \S+: ([\d.]+) fps", results)
    ((soonest, latest, largest, megabytes),) = re.findall(
        r"first frame is written ([\d.]+) to ([\d.]+) s after the start; (\S+) takes (\d+) MB", section
    )
    firsts = [float(first) for first in re.findall(r"start to first frame written: ([\d.]+) s", results)]
    assert agrees(soonest, min(firsts))
    assert agrees(latest, max(firsts))
    assert agrees(megabytes, float(sizes[largest][-1]))


def test_figures_of_other_networks_than_today_are_said_to_be_old() -> None:
    results = (_ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    with_today = re.sub(
        r"^- style: .*?,", f"- style: aozora ({fingerprint(open_style(StyleOptions()))}),", results, flags=re.M
    )
    assert "of an earlier version" not in with_speed(readme(), with_today)
    assert "of an earlier version" in with_speed(
        readme(), with_today.replace("- style: aozora (", "- style: aozora (0")
    )


def test_new_results_become_a_new_table() -> None:
    results = (_ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert with_speed(readme(), results) == readme(), "python -m benchmarks.readme"
    engine = re.search(r"^engine +([\d.]+) .*\[.*\]$", results, flags=re.MULTILINE)
    assert engine is not None
    line = engine[0].replace(engine[1], "88.81", 1).partition("[")[0] + "[88.8, 91.3, 86.4]"
    assert "(86 to 91) |" in with_speed(readme(), results.replace(engine[0], line))
