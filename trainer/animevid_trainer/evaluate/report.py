"""One HTML page of an evaluation: the table, what each figure means, the pictures; nothing is fetched to show it."""

from __future__ import annotations

import base64
import html
import math
import os
import time
from pathlib import Path

import cv2

from animevid_trainer.data.pictures import Picture
from animevid_trainer.evaluate.measure import COLUMNS, Column, Evaluation

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem;
       color: #1c2330; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.table { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #dde2ea; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } td.best { font-weight: 700; background: #e8f4ea }
.warning { background: #fff4d6; border-left: 4px solid #d9a400; padding: .5rem .8rem }
.pictures { overflow-x: auto } .row { display: flex; gap: 6px; margin-bottom: 6px }
figure { margin: 0; flex: 0 0 auto } img { display: block; height: 190px }
figcaption { font-size: .8rem; color: #5a6577 }
dt { font-weight: 600 } dd { margin: 0 0 .4rem 1.2rem; color: #44506a }
@media (prefers-color-scheme: dark) { body { background: #14171c; color: #d7dde8 } td.best { background: #1f3a26 }
  th, td { border-color: #303846 } .warning { background: #3a3113 } dd, figcaption { color: #97a3b6 } }
"""


def write_report(path: Path, evaluation: Evaluation, *, title: str = "animevid evaluation") -> None:
    """Write the page whole or not at all.

    Raises:
        OSError: not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(page_of(evaluation, title=title), encoding="utf-8")
    os.replace(unfinished, path)


def page_of(evaluation: Evaluation, *, title: str) -> str:
    """The page as text."""
    columns = [column for column in COLUMNS if any(column.key in row.figures for row in evaluation.rows)]
    warnings = "".join(f'<p class="warning">{html.escape(warning)}.</p>' for warning in evaluation.warnings)
    meanings = "".join(
        f"<dt>{html.escape(column.title)}{_arrow(column)}</dt><dd>{html.escape(column.meaning)}</dd>"
        for column in columns
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{html.escape(title)}</h1>"
        f"<p>{evaluation.photo_count} photos, {evaluation.art_count} art pictures; features by "
        f"{html.escape(evaluation.network)}; {time.strftime('%Y-%m-%d')}. Arrows say which way is better.</p>{warnings}"
        f'<div class="table">{_table(evaluation, columns)}</div>'
        f"<h2>Pictures</h2>{_pictures(evaluation)}<h2>What the figures mean</h2><dl>{meanings}</dl></body></html>\n"
    )


def markdown_table(evaluation: Evaluation) -> str:
    """The same table for a text file: one row a figure, one column a candidate."""
    lines = ["| figure | " + " | ".join(row.label for row in evaluation.rows) + " |"]
    lines.append("|---|" + "---:|" * len(evaluation.rows))
    for column in COLUMNS:
        if any(column.key in row.figures for row in evaluation.rows):
            cells = (_number(row.figures.get(column.key, math.nan), column) for row in evaluation.rows)
            lines.append(f"| {column.title}{_arrow(column)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _arrow(column: Column) -> str:
    return {1: " ↑", -1: " ↓", 0: ""}[column.better]


def _number(value: float, column: Column) -> str:
    return "–" if math.isnan(value) else f"{value:,.{column.digits}f}"


def _table(evaluation: Evaluation, columns: list[Column]) -> str:
    head = "".join(f'<th title="{html.escape(c.meaning)}">{html.escape(c.title)}{_arrow(c)}</th>' for c in columns)
    body = ""
    for row in evaluation.rows:
        cells = ""
        for column in columns:
            value = row.figures.get(column.key, math.nan)
            cells += f"<td{_best(evaluation, column, value)}>{_number(value, column)}</td>"
        body += f'<tr><td title="{html.escape(row.note)}">{html.escape(row.label)}</td>{cells}</tr>'
    return f"<table><thead><tr><th>candidate</th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _best(evaluation: Evaluation, column: Column, value: float) -> str:
    # Doing nothing would win every figure of faithfulness.
    rivals = [row.figures.get(column.key, math.nan) for row in evaluation.rows if row.label != "photo"]
    known = [rival for rival in rivals if not math.isnan(rival)]
    if column.better == 0 or len(known) < 2 or value not in known:
        return ""
    return ' class="best"' if value == (max(known) if column.better > 0 else min(known)) else ""


def _pictures(evaluation: Evaluation) -> str:
    rows = ""
    for index, photo in enumerate(evaluation.photos):
        cells = _figure(photo, "photo")
        for row in evaluation.rows:
            if row.label != "photo":
                cells += _figure(row.pictures[index], row.label)
        rows += f'<div class="row">{cells}</div>'
    return f'<div class="pictures">{rows}</div>'


def _figure(picture: Picture, caption: str) -> str:
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/jpeg;base64,{data}"><figcaption>{text}</figcaption></figure>'
