"""``stylize`` writes a file, ``stylized_frames`` yields frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from animevid.declare import changed, keywords_of, option
from animevid.errors import OptionError
from animevid.frame import Frame
from animevid.io import open_source
from animevid.options import ConversionOptions
from animevid.run.conversion import Conversion, PathLike, frames_at_once, open_stylizer, renderer_for
from animevid.run.report import ConversionReport, Progress
from animevid.run.session import Session


@dataclass(frozen=True, kw_only=True)
class _Arguments(ConversionOptions):
    codec: str | None = option(None, "short for encoder.codec: h264, hevc, av1, vp9, prores or ffv1")
    crf: float | None = option(None, "short for encoder.crf: constant quality, lower is better")
    on_progress: Callable[[Progress], None] | None = option(
        None, "called a few times a second in this thread, and at the end"
    )

    def __post_init__(self) -> None:
        short = {name: value for name in ("codec", "crf") if (value := getattr(self, name)) is not None}
        for name, value in short.items():
            # Equal values are those of an earlier check: ``replace`` makes another one.
            if changed(self.encoder).get(name, value) != value:
                raise OptionError(f"{name} = {value!r} is given in encoder too: give it once")
        object.__setattr__(self, "encoder", replace(self.encoder, **short))
        super().__post_init__()


@keywords_of(_Arguments)
def stylize(src: PathLike, dst: PathLike, options: _Arguments) -> ConversionReport:
    """Stylize ``src`` (video, GIF, image, folder, glob or URL) into ``dst``; other streams and metadata are kept.

    ``dst`` appears under its name only when it is complete. Audio, subtitles, attachments, chapters and metadata are
    copied unless ``copy_streams`` is false. An open ``Stylizer`` as ``style`` keeps its own options.

    Args:
        src (str | PathLike): a path, pattern or URL.
        dst (str | PathLike): a path, whose suffix selects the format, or a URL to publish to.

    Raises:
        OptionError: an invalid value of an option (a ``ValueError``), before any file is opened.
        InputError, OutputError, StyleError, BackendError, UsageError: see ``animevid.errors``; ``dst`` is untouched.
        Cancelled: Ctrl-C.
    """
    with Conversion(src, dst, options) as conversion:
        return conversion.run(on_progress=options.on_progress)


@keywords_of(ConversionOptions)
def stylized_frames(src: PathLike, options: ConversionOptions) -> Iterator[Frame]:
    """The stylized frames of ``src``, in order, decoded and stylized ahead in other threads.

    Each ``Frame`` has its exact ``pts_seconds`` and its planes; ``animevid.pixels.planes_to_rgb`` turns
    those into ``uint8`` RGB ``(H, W, 3)``. Leaving the loop early stops the threads. Output options have
    no effect.

    Args:
        src (str | PathLike): a path, pattern or URL.

    Raises:
        InputError, StyleError, BackendError, UsageError: see ``animevid.errors``.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(src, options))
        stylizer = open_stylizer(options, concurrency=frames_at_once(options.threads))
        if stylizer is not options.style:
            stack.enter_context(stylizer)
        yield from Session[Frame](source, renderer_for(stylizer, options))
