"""The networks that live stylizing keeps open, by style and quality."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from animevid.render.stylizer import Stylizer
from animevid.styles import CardHints, Style

#: Networks that stay open at a time; switching back to one of these is immediate.
_OPEN_STYLES = 6

StyleName = str | os.PathLike[str] | Style | None


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How networks run, and how many viewers there may be."""

    backend: str = "auto"
    device: str = "auto"
    threads: int = 0
    precision: str | None = None
    sha256: str | None = None
    hints: CardHints | None = field(default=None)
    max_sessions: int = 4


class StylizerCache:
    """The networks that are open, by style and quality; the one that was not used for longest goes first."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._open: OrderedDict[tuple[str, str], Future[Stylizer]] = OrderedDict()
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="animevid-style")

    def get(self, style: StyleName, *, quality: str) -> Stylizer | None:
        """The network if it is open; ``None`` while it is being loaded, which this starts.

        Raises:
            StyleError, BackendError: it cannot be loaded.
        """
        future = self._future(style, quality)
        return future.result() if future.done() else None

    def load(self, style: StyleName, *, quality: str) -> Stylizer:
        """The network, waiting for it.

        Raises:
            StyleError, BackendError: it cannot be loaded.
        """
        return self._future(style, quality).result()

    def _future(self, style: StyleName, quality: str) -> Future[Stylizer]:
        key = (str(style.path) if isinstance(style, Style) else str(style), quality)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._loader.submit(self._load, style, quality)
            self._open.move_to_end(key)
            oldest = next(iter(self._open))
            # Only a reference is dropped here: a viewer may still look through it.
            if len(self._open) > _OPEN_STYLES and self._open[oldest].done():
                del self._open[oldest]
            return self._open[key]

    def _load(self, style: StyleName, quality: str) -> Stylizer:
        options = self._options
        return Stylizer(
            style,
            backend=options.backend,
            device=options.device,
            threads=options.threads,
            quality=quality,
            precision=options.precision,
            sha256=options.sha256,
            hints=options.hints,
        )

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)
        for future in self._open.values():
            if not future.cancelled() and future.exception() is None:
                future.result().close()
        self._open.clear()
