"""An encoded frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass


class CodedFrame(Protocol):
    """An encoded frame; times are ticks of the output's ``frame_format.time_base``."""

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
