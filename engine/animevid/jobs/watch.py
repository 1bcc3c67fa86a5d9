"""Watches a folder for new video files and reports them when they are complete."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from animevid.jobs.batch import VideoFile, is_video_file

#: A file is complete when it was not written to for this long.
SETTLED_SECONDS = 2.0


def new_videos(
    folder: Path, *, recursive: bool = False, stop: Event | None = None, settled_seconds: float = SETTLED_SECONDS
) -> Iterator[VideoFile]:
    """Yield new video files in ``folder`` once they were not written to for ``settled_seconds``.

    Ends when ``stop`` is set, or with Ctrl-C.

    Raises:
        ModuleNotFoundError: ``watchfiles`` is not installed (``pip install "animevid[watch]"``).
    """
    from watchfiles import Change, watch

    waiting: dict[Path, tuple[int, float]] = {}
    changes = watch(
        folder,
        recursive=recursive,
        stop_event=stop,
        rust_timeout=max(50, round(settled_seconds * 250)),
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    for found in changes:
        for change, name in found:
            if change != Change.deleted and is_video_file(Path(name)):
                waiting.setdefault(Path(name), (-1, 0.0))
        for path, (size, since) in list(waiting.items()):
            try:
                now = path.stat().st_size
            except OSError:  # it was removed meanwhile
                del waiting[path]
                continue
            if now != size:
                waiting[path] = now, time.monotonic()
            elif time.monotonic() - since >= settled_seconds:
                del waiting[path]
                yield VideoFile(path, path.parent.relative_to(folder.absolute()) if path.is_absolute() else Path())
