"""Writes an evaluation as one self-contained HTML page: the table, the meaning of each figure, and the images."""

from __future__ import annotations

import base64
import html
import math
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

from animevid_trainer.data.images import Image
from animevid_trainer.evaluate.columns import Column
from animevid_trainer.evaluate.measure import COLUMNS, Evaluation, Row
from animevid_trainer.files import write_file
from animevid_trainer.survey.ranking import rank
from animevid_trainer.survey.votes import QUESTIONS, Vote

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem;
       color: #1c2330; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
.table { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #dde2ea; text-align: right; white-space: nowrap }
th:first-child { text-align: left; position: sticky; left: 0; background: inherit; font-weight: 500 }
thead th { font-weight: 600 } tr { background: #fff } td.best { font-weight: 700; background: #e8f4ea }
.baseline { color: #5a6577; font-style: italic }
.warning { background: #fff4d6; border-left: 4px solid #d9a400; padding: .5rem .8rem }
.images { overflow-x: auto } .row { display: flex; gap: 6px; margin-bottom: 6px }
figure { margin: 0; flex: 0 0 auto } figure img { display: block; height: 190px }
figure button { padding: 0; border: 0; background: none; cursor: zoom-in }
figcaption { font-size: .8rem; color: #5a6577 }
dialog { border: 0; padding: .5rem; background: #111; color: #eee; text-align: center; max-width: 98vw }
dialog img { width: 94vw; height: 82vh; object-fit: contain; display: block } dialog::backdrop { background: #000d }
dialog button { font: inherit; min-width: 44px; min-height: 44px; margin: .3rem }
dt { font-weight: 600 } dd { margin: 0 0 .4rem 1.2rem; color: #44506a }
@media (prefers-color-scheme: dark) { body, tr { background: #14171c; color: #d7dde8 } td.best { background: #1f3a26 }
  th, td { border-color: #303846 } .warning { background: #3a3113 } dd, figcaption, .baseline { color: #97a3b6 } }
"""

#: a click enlarges an image; arrow keys switch between candidates of the same photo
_SCRIPT = """
const large = document.querySelector('dialog'), shown = large.querySelector('img'), name = large.querySelector('span');
let row = [], at = 0;
const show = (to) => { at = (to + row.length) % row.length;
  shown.src = row[at].querySelector('img').src; name.textContent = row[at].querySelector('img').alt; };
for (const button of document.querySelectorAll('figure button')) button.addEventListener('click', () => {
  row = [...button.closest('.row').querySelectorAll('button')]; show(row.indexOf(button)); large.showModal(); });
const [back, on, close] = large.querySelectorAll('button');
back.addEventListener('click', () => show(at - 1)); on.addEventListener('click', () => show(at + 1));
close.addEventListener('click', () => large.close());
large.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowLeft') show(at - 1); else if (event.key === 'ArrowRight') show(at + 1); });
"""
_DIALOG = (
    '<dialog><img alt=""><button type="button" aria-label="previous">&larr;</button> <span></span> '
    '<button type="button" aria-label="next">&rarr;</button> <button type="button">Close</button></dialog>'
)


def write_report(
    path: Path, evaluation: Evaluation, *, votes: Sequence[Vote] = (), title: str = "animevid evaluation"
) -> None:
    """Write the page atomically. ``votes``: blind votes, which the page ranks.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, page_of(evaluation, votes=votes, title=title))


def page_of(evaluation: Evaluation, *, title: str, votes: Sequence[Vote] = ()) -> str:
    """Return the page as text."""
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
        f"<p>{evaluation.photo_count} photos, {evaluation.art_count} art images; features by "
        f"{html.escape(evaluation.network)}; {time.strftime('%Y-%m-%d')}. Arrows show whether higher or "
        f"lower is better. Italics mark baselines: the unchanged photo, and filters without a network.</p>"
        f"<p>{html.escape(evaluation.standard)}.</p>{warnings}"
        f'<div class="table">{_table(evaluation, columns)}</div>{_votes(votes)}'
        f"<h2>Images</h2><p>Click an image to enlarge it; the arrow keys switch between candidates.</p>"
        f"{_images(evaluation)}<h2>What the figures mean</h2><dl>{meanings}</dl>{_DIALOG}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def markdown_table(evaluation: Evaluation) -> str:
    """Return the table as Markdown: one row per figure, one column per candidate."""
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
    """Return the table: a row for each figure, so that all are visible at once, and a column for each candidate."""
    head = "".join(
        f'<th scope="col"{_class(row)} title="{html.escape(row.note)}">{html.escape(row.label)}</th>'
        for row in evaluation.rows
    )
    body = ""
    for column in columns:
        cells = ""
        for row in evaluation.rows:
            value = row.figures.get(column.key, math.nan)
            best = _is_best(evaluation, column, row)
            cells += f"<td{' class=best' if best else _class(row)}>{_number(value, column)}</td>"
        title = f"{html.escape(column.title)}{_arrow(column)}"
        body += f'<tr><th scope="row" title="{html.escape(column.meaning)}">{title}</th>{cells}</tr>'
    return f"<table><thead><tr><th>figure</th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _class(row: Row) -> str:
    return "" if row.kind == "style" else " class=baseline"


def _is_best(evaluation: Evaluation, column: Column, row: Row) -> bool:
    # Compare styles only: the unchanged photo is best in every figure of faithfulness, filters in some others.
    rivals = [other.figures.get(column.key, math.nan) for other in evaluation.rows if other.kind == "style"]
    known = [rival for rival in rivals if not math.isnan(rival)]
    if column.better == 0 or len(known) < 2 or row.kind != "style":
        return False
    return row.figures.get(column.key) == (max(known) if column.better > 0 else min(known))


def _votes(votes: Sequence[Vote]) -> str:
    """Return the ranking of blind votes for each question."""
    if not votes:
        return ""
    judges = len({vote.judge for vote in votes})
    tables = ""
    for question, asked in QUESTIONS.items():
        rows = "".join(
            f'<tr><th scope="row">{html.escape(s.name)}</th><td>{s.share:.0%}</td><td>{s.low:.0%} to {s.high:.0%}</td>'
            f"<td>{s.won} of {s.votes}</td></tr>"
            for s in rank(votes, question)
        )
        head = "<tr><th>candidate</th><th>share</th><th>95 %</th><th>won</th></tr>"
        tables += f"<h3>{html.escape(asked)}</h3><table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return (
        f"<h2>Blind votes</h2><p>{len(votes)} votes of {judges} judges. Share: expected share of votes won against "
        f"an average candidate (Bradley and Terry).</p>{tables}"
    )


def _images(evaluation: Evaluation) -> str:
    rows = ""
    for index, photo in enumerate(evaluation.photos):
        cells = _figure(photo, "photo")
        for row in evaluation.rows:
            if row.kind != "identity":
                cells += _figure(row.images[index], row.label)
        rows += f'<div class="row">{cells}</div>'
    return f'<div class="images">{rows}</div>'


def _figure(pixels: Image, caption: str) -> str:
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    text = html.escape(caption)
    image = f'<img alt="{text}" src="data:image/jpeg;base64,{data}">'
    return f'<figure><button type="button">{image}</button><figcaption>{text}</figcaption></figure>'
