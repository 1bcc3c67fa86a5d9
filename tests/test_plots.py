"""Every benchmark draws its plot, and plots show the measured values."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import plots

_ROOT = Path(__file__).resolve().parent.parent
_SVG = "{http://www.w3.org/2000/svg}"
#: Scripts that measure nothing, or draw images instead.
_NO_PLOT = {"__init__", "plots", "readme", "clips", "machine", "naive", "gpu_carry"} | {
    *("cards", "gallery", "sheets", "study"),
}


def texts(path: Path) -> list[str]:
    return [text.text or "" for text in ElementTree.parse(path).iter(f"{_SVG}text")]


def test_every_benchmark_draws_a_plot() -> None:
    for path in sorted((_ROOT / "benchmarks").glob("*.py")):
        if path.stem not in _NO_PLOT:
            source = path.read_text(encoding="utf-8")
            assert "plots.write(" in source, path.name
            assert "plots.add_plot(" in source or path.stem in ("__main__", "recipes"), path.name


def test_a_bar_is_as_long_as_its_value(tmp_path: Path) -> None:
    rates = {"small <1>": {"ours": 60.0, "theirs": 15.0}, "large": {"ours": 30.0, "theirs": float("nan")}}
    plots.write(tmp_path / "new" / "a.svg", plots.bars("speed", rates, unit="fps"))
    drawn = ElementTree.parse(tmp_path / "new" / "a.svg").iter(f"{_SVG}rect")
    widths = [float(bar.attrib["width"]) for bar in drawn if bar.attrib["width"] != "100%"]
    assert widths == [300, 75, 150]
    assert texts(tmp_path / "new" / "a.svg") == [
        "speed",
        "small <1>",
        "60 fps, ours",
        "15 fps, theirs",
        "large",
        "30 fps, ours",
    ]


@pytest.mark.parametrize("log", [False, True])
def test_a_line_rises_with_its_points(tmp_path: Path, log: bool) -> None:
    points = [(1.0, 1.0), (10.0, 9.0), (100.0, 70.0)]
    chart = plots.lines("speed-up", {"farm": points}, x_label="workers", y_label="times", log=log)
    plots.write(tmp_path / "a.svg", chart, chart)
    first, second = ElementTree.parse(tmp_path / "a.svg").iter(f"{_SVG}polyline")
    spots = [tuple(map(float, spot.split(","))) for spot in first.attrib["points"].split()]
    assert [x for x, _ in spots] == sorted(x for x, _ in spots)
    assert [y for _, y in spots] == sorted((y for _, y in spots), reverse=True)
    assert second.attrib == first.attrib
    assert {"100", "workers", "times", "farm"} <= set(texts(tmp_path / "a.svg")) or not log


def test_a_benchmark_that_runs_leaves_its_plot(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.edge_smoothing", "--size", "64", "--plot", str(tmp_path / "a.svg")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert "times faster" in done.stdout, done.stderr
    names = [text for text in texts(tmp_path / "a.svg") if "ms" not in text]
    assert names == ["edge smoothing, one thread", "pixel loop", "vectorized"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stages", ["--sizes", "64x48", "--frames", "4", "--runs", "1"]),
        pytest.param(
            "int8",
            ["aozora", "--photos", "{photos}", "--out", "{out}", "--calibration", "1", "--limit", "1", "--rounds", "1"],
            marks=pytest.mark.shared,
        ),
    ],
)
def test_benchmarks_of_the_engine_run_on_the_styles_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str, arguments: list[str]
) -> None:
    photos = request.getfixturevalue("shared") / "photos" if name == "int8" else None
    words = [word.format(photos=photos, out=tmp_path) for word in arguments]
    monkeypatch.setattr(sys, "argv", [name, *words, "--plot", str(tmp_path / "a.svg")])
    importlib.import_module(f"benchmarks.{name}").main()
    assert any(text[0].isdigit() for text in texts(tmp_path / "a.svg"))


def test_the_plot_of_the_results_shows_their_figures() -> None:
    results = (_ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert "](RESULTS.svg)" in results
    rows = re.findall(r"^\| (\d+x\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", results, flags=re.MULTILINE)
    shown = texts(_ROOT / "benchmarks" / "RESULTS.svg")
    for size, *rates in rows:
        at = shown.index(size)
        figures = [float(text.split()[0]) for text in shown[at + 1 : at + 4]]
        assert figures == pytest.approx([float(rate) for rate in rates], rel=0.01), size
