"""Links from the docs to other files of the repository, which the pages do not have, become their text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs asks this of each page; a link to a file that is missing stays, and is an error."""

    def shown(link: re.Match[str]) -> str:
        return link[1] if (_ROOT / link[2]).exists() else link[0]

    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#\s]+)[^)]*\)", shown, markdown)
