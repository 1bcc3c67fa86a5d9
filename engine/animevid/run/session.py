"""Sessions: frames from a source through a renderer to sinks, for files and cameras alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from animevid.frame import Frame, StylizedFrame
from animevid.pixels import PlanesYUV420
from animevid.render.renderer import AnyRenderer, Renderer
from animevid.run.pipeline import Pipeline
from animevid.run.queues import Turns, WhenFull
from animevid.run.stage import AnyStage, Stage
from animevid.run.statistics import PipelineStatistics

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

Fit = Callable[[PlanesYUV420], PlanesYUV420]
Finish = Callable[[Frame, PlanesYUV420], object]


@dataclass(frozen=True, slots=True)
class Policy:
    """How frames are queued.

    Args:
        when_full (WhenFull): what a put on a full queue does.
        capacity (int): maximum number of frames between two stages.
        one_by_one (bool): finish a frame before the next begins, for the least latency. Otherwise the steps run at
            once, each on its own frame, for the highest frame rate.
    """

    when_full: WhenFull
    capacity: int
    one_by_one: bool


#: No frame is lost: the faster stage waits.
FILES = Policy(WhenFull.WAIT, capacity=2, one_by_one=False)
#: The newest frame wins, and is finished before the next begins.
LIVE = Policy(WhenFull.KEEP_LATEST, capacity=1, one_by_one=True)


def stylized(frame: Frame, planes: PlanesYUV420) -> Frame:
    """The frame for a file: the stylized planes at the original's time."""
    return frame.with_planes(planes)


def beside_original(frame: Frame, planes: PlanesYUV420) -> StylizedFrame:
    """The frame for a viewer: original, stylized planes, and when they were ready."""
    return StylizedFrame(frame, planes, time.monotonic())


class Session(Generic[T]):
    """A source, a renderer and sinks. A context manager; used once.

    Three uses: ``run`` takes everything from the source to the sinks; iterating yields the results one by one; or enter
    it without a source, pass frames by ``offer`` and get results by ``take``.

    Args:
        source (Iterable[Frame] | None): where frames come from; ``None``: they are offered.
        renderer (Renderer): stylizes them; it keeps the stream's state, so no other session may use it.
        sinks (Sequence): each gets each result, in order, all in one further thread.
        policy (Policy): how frames are queued. Default: ``FILES``.
        fit (Callable): brings planes to the output's size. Default: unchanged.
        finish (Callable): makes the result of a frame and its stylized planes. Default: a ``Frame``.
        turns (Turns): a lock shared by sessions on one machine. Default: none.
        on_error (Callable): called with a frame's error; the frame is dropped. ``None``: an error ends the session.
        source_name (str): the source's name in statistics.
    """

    def __init__(
        self,
        source: Iterable[Frame] | None,
        renderer: AnyRenderer,
        sinks: Sequence[Callable[[T], None]] = (),
        policy: Policy = FILES,
        *,
        fit: Fit | None = None,
        finish: Finish = stylized,
        turns: Turns | None = None,
        on_error: Callable[[Exception], None] | None = None,
        source_name: str = "decode",
    ) -> None:
        stages = stylizing_stages(renderer, fit=fit, finish=finish)
        if policy.one_by_one:
            stages = [_one_by_one(stages, turns=turns or Turns(), on_error=on_error)]
        if sinks:
            stages.append(Stage.each("encode", sinks[0] if len(sinks) == 1 else _each(sinks)))
        self._pipeline: Pipeline[T] = Pipeline(
            source, stages, capacity=policy.capacity, when_full=policy.when_full, source_name=source_name
        )

    def run(self, *, watch: Callable[[PipelineStatistics], None] | None = None) -> PipelineStatistics:
        """Run to the end; ``watch`` is called a few times a second in this thread, and at the end.

        Raises:
            Cancelled: ``cancel`` was called, or Ctrl-C was pressed.
            BaseException: the first that the source, the renderer, a sink or ``watch`` raised.
        """
        return self._pipeline.run(watch=watch)

    def __iter__(self) -> Iterator[T]:
        """The results, in order. Leaving the loop early stops the session."""
        return iter(self._pipeline)

    def offer(self, frame: Frame) -> None:
        """Pass a frame to the renderer. With ``LIVE`` it replaces a waiting one and never blocks."""
        self._pipeline.offer(frame)

    def take(self, *, timeout_seconds: float | None = None) -> T | None:
        """The next result; ``None`` after ``timeout_seconds``, at the end or once cancelled."""
        return self._pipeline.take(timeout_seconds=timeout_seconds)

    def statistics(self) -> PipelineStatistics:
        """Time per stage so far."""
        return self._pipeline.statistics()

    def cancel(self) -> None:
        """Stop after the current frame, without waiting for it. From any thread; safe to call twice."""
        self._pipeline.cancel()

    @property
    def is_ending(self) -> bool:
        """Whether it was cancelled or has failed, so that a sink should stop waiting."""
        return self._pipeline.is_ending

    def __enter__(self) -> Self:
        self._pipeline.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pipeline.__exit__(exc_type, exc, traceback)


def stylizing_stages(
    renderer: Renderer[In, Out], *, fit: Fit | None = None, finish: Finish = stylized
) -> list[AnyStage]:
    """The steps of ``renderer`` as stages, ``Frame`` in. ``infer`` passes frames to the network; where several run at
    once, ``network`` waits for them in order. The other arguments are those of ``Session``.
    """

    def preprocess(frame: Frame) -> tuple[Frame, In]:
        if fit is not None:
            fitted = fit(frame.planes)
            if fitted is not frame.planes:
                frame = frame.with_planes(fitted)
        return frame, renderer.preprocess(frame.planes)

    def infer(items: list[tuple[Frame, In]]) -> list[tuple[Frame, Out]]:
        frames, inputs = zip(*items, strict=True)
        return list(zip(frames, renderer.infer(inputs), strict=True))

    def wait(item: tuple[Frame, Out]) -> tuple[Frame, Out]:
        renderer.wait(item[1])
        return item

    def postprocess(item: tuple[Frame, Out]) -> object:
        frame, output = item
        return finish(frame, renderer.postprocess(frame.planes, output))

    return [
        Stage.each("preprocess", preprocess),
        Stage("infer", infer, batch_limit=renderer.batch_limit, interrupt=renderer.interrupt),
        Stage.each("network", wait),
        Stage.each("postprocess", postprocess),
    ]


def _each(sinks: Sequence[Callable[[T], None]]) -> Callable[[T], None]:
    def encode(item: T) -> None:
        for write in sinks:
            write(item)

    return encode


def _one_by_one(stages: Sequence[AnyStage], *, turns: Turns, on_error: Callable[[Exception], None] | None) -> AnyStage:
    """``stages`` as one stage, in one thread. It cannot be interrupted: other sessions may use the same network."""

    def render(items: list[object]) -> list[object]:
        try:
            for stage in stages:
                items = list(stage(items))
        except Exception as error:
            if on_error is None:
                raise
            on_error(error)
            return [None]
        return items

    return Stage("render", render, turns=turns)
