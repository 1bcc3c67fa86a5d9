"""A cache of open networks for live use, by style and quality."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from animevid.declare import narrowed
from animevid.options import RuntimeOptions, StyleChoice, StyleOptions
from animevid.render.stylizer import Stylizer
from animevid.styles import Style

#: How many networks stay open; switching back to one of them is immediate.
_OPEN_STYLES = 6


class StylizerCache:
    """Open networks by style and quality; the least recently used one is closed first."""

    def __init__(self, runtime: RuntimeOptions) -> None:
        self._runtime = runtime
        self._open: OrderedDict[StyleChoice, Future[Stylizer]] = OrderedDict()
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="animevid-style")

    def get(self, options: StyleOptions) -> Stylizer | None:
        """The network of that style if it is open; else start loading it and return ``None``.

        The caller sets the options that may change between frames (``Stylizer.options``).

        Raises:
            StyleError, BackendError: it cannot be loaded.
        """
        future = self._future(options)
        return future.result() if future.done() else None

    def load(self, options: StyleOptions) -> Stylizer:
        """The network; waits until it is loaded.

        Raises:
            StyleError, BackendError: it cannot be loaded.
        """
        return self._future(options).result()

    def _future(self, options: StyleOptions) -> Future[Stylizer]:
        key = _key(options)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._loader.submit(Stylizer.open, options, self._runtime)
            self._open.move_to_end(key)
            oldest = next(iter(self._open))
            # Only drop the reference: a viewer may still use it.
            if len(self._open) > _OPEN_STYLES and self._open[oldest].done():
                del self._open[oldest]
            return self._open[key]

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)
        for future in self._open.values():
            if not future.cancelled() and future.exception() is None:
                future.result().close()
        self._open.clear()


def _key(options: StyleOptions) -> StyleChoice:
    """The options that identify an open network."""
    style = options.style
    path = style.path if isinstance(style, Style) else style
    return replace(narrowed(options, StyleChoice), style=str(path), quality=options.quality or "fast")
