"""The pages of docs/ have all public names and options, no broken links, and correct how-tos."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import animevid
import pytest
from animevid.cli.app import COMMANDS, build_parser

_ROOT = Path(__file__).resolve().parent.parent
_PAGES = _ROOT / "docs"


@pytest.fixture(scope="module")
def api_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The API page, from a strict build of all pages."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip('the pages are built with pip install ".[docs]"')
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (site / "options_extension.py").exists()
    return (site / "api" / "index.html").read_text(encoding="utf-8")


def test_the_api_page_has_every_public_name_and_every_option(api_page: str) -> None:
    for name in set(animevid.__all__) - {"__version__"}:
        found = getattr(animevid, name)
        home = found.__name__ if inspect.ismodule(found) else f"{found.__module__}.{found.__qualname__}"
        assert {f'id="animevid.{name}"', f'id="{home}"'} & set(re.findall(r'id="[^"]*"', api_page)), name
    listed = set(re.findall(r"<b><code>(\w+)</code></b>|<code>(\w+)</code></strong>|<code>(\w+)</code>", api_page))
    words = {word for group in listed for word in group}
    for function in (animevid.stylize, animevid.stylized_frames, animevid.Stylizer):
        assert set(inspect.signature(function).parameters) <= words


def blocks(kind: str) -> Iterator[str]:
    """The code of all fenced blocks of ``kind`` in the how-tos."""
    text = (_PAGES / "howto.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    yield from (code for language, code in found if language == kind)


def test_every_command_of_the_how_tos_is_one_that_there_is() -> None:
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("animevid ")]
    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line.partition(" > ")[0])[1:]
        name = words.pop(0) if words[0] in COMMANDS else "convert"
        build_parser(name).parse_args(words)


def test_every_call_of_the_how_tos_has_arguments_that_there_are() -> None:
    called = []
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("animevid."):
                function = getattr(animevid, ast.unparse(node.func).removeprefix("animevid."))
                keywords = {keyword.arg: None for keyword in node.keywords}
                inspect.signature(function).bind(*node.args, **keywords)
                called.append(function)
    assert {animevid.stylize, animevid.stylized_frames, animevid.Stylizer, animevid.TemporalFilter} <= set(called)
