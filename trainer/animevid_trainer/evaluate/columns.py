"""What a column of figures is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One figure: how it is headed, what it means, and which way is better (+1 up, -1 down, 0 neither)."""

    key: str
    title: str
    meaning: str
    better: int = 0
    digits: int = 3
