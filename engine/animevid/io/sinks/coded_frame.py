"""A picture as an encoder gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass


class CodedFrame(Protocol):
    """A picture as an encoder gave it; times are ticks of the output's ``picture.time_base``."""

    @property
    def pts(self) -> int: ...
    @property
    def dts(self) -> int: ...
    @property
    def duration(self) -> int: ...
    @property
    def is_key_frame(self) -> bool: ...
    @property
    def payload(self) -> bytes: ...
