"""A stage: one named step of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeAlias, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Stage(Generic[In, Out]):
    """A step that takes 1 to ``batch_limit`` items and returns as many, in the same order.

    With ``batch_limit`` above 1 it takes the items that wait already; a stage never waits to fill a batch.
    """

    name: str
    #: From item to result if ``is_single``, else from a list of items to a sequence of results.
    function: Callable[[Any], Any]
    batch_limit: int = 1
    #: Interrupts ``function`` from another thread when the pipeline ends early; ``None``: wait for it.
    interrupt: Callable[[], None] | None = None
    #: A lock that is held while items are taken and processed; shared by the pipelines of one machine.
    turns: AbstractContextManager[None] | None = None
    #: Whether ``function`` takes one item and returns one result instead of lists.
    is_single: bool = False

    def __post_init__(self) -> None:
        if self.batch_limit < 1 or (self.is_single and self.batch_limit > 1):
            raise ValueError(f"{self.batch_limit = } must be 1 or more")

    @classmethod
    def each(cls, name: str, function: Callable[[In], Out]) -> Self:
        """A stage that processes items one by one."""

        return cls(name, function, is_single=True)

    def __call__(self, items: list[In]) -> Sequence[Out]:
        """Run the step here and now, as the pipeline would.

        Raises:
            RuntimeError: the function returned another number of items than it was given.
        """
        if self.is_single:
            return (self.function(items[0]),)
        results: Sequence[Out] = self.function(items)
        if len(results) != len(items):
            raise RuntimeError(f"stage {self.name!r} was given {len(items)} items and gave back {len(results)}")
        return results


#: A stage among others: each passes on what the next one takes.
AnyStage: TypeAlias = Stage[Any, Any]
