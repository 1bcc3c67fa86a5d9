"""The pairs of a survey: any two candidates on each photo, in an order and on sides that differ by judge."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from animevid.errors import TrainingError

from animevid_trainer.data.images import Image
from animevid_trainer.evaluate.candidates import Candidate

_JPEG_QUALITY = 93


@dataclass(frozen=True, slots=True)
class Pair:
    """Two candidates on one photo; ``number`` identifies the pair on a judge's page."""

    number: int
    photo: str
    first: str
    second: str


@dataclass(frozen=True)
class Exhibition:
    """The images of a survey as JPEG, by (photo, candidate); "" is the photo itself."""

    pairs: tuple[Pair, ...]
    images: Mapping[tuple[str, str], bytes]

    def order_for(self, judge: str) -> list[Pair]:
        """Return all pairs in a fixed random order for ``judge``."""
        return random.Random(f"order {judge}").sample(self.pairs, len(self.pairs))

    def sides_for(self, judge: str, pair: Pair) -> tuple[str, str]:
        """Return the candidates of ``pair`` as (left, right) for ``judge``."""
        sides = [pair.first, pair.second]
        random.Random(f"sides {judge} {pair.number}").shuffle(sides)
        return sides[0], sides[1]


def hang(
    candidates: Iterable[Candidate],
    photos: Mapping[str, Image],
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Exhibition:
    """Draw every photo with every candidate.

    Raises:
        TrainingError: fewer than two candidates, or two with the same name.
    """
    images = {(name, ""): _jpeg(photo) for name, photo in photos.items()}
    names: list[str] = []
    for candidate in candidates:
        if candidate.label in names:
            raise TrainingError(f"two candidates are called {candidate.label!r}; write NAME=CANDIDATE")
        names.append(candidate.label)
        for index, (name, photo) in enumerate(photos.items()):
            images[name, candidate.label] = _jpeg(candidate.stylize(photo))
            if on_progress is not None:
                on_progress(candidate.label, index + 1, len(photos))
    if len(names) < 2:
        raise TrainingError("a survey compares candidates: give two or more, e.g. runs/mine aozora")
    together = itertools.product(photos, itertools.combinations(names, 2))
    pairs = tuple(Pair(number, photo, *two) for number, (photo, two) in enumerate(together))
    return Exhibition(pairs, images)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each photo: its stem, with digits appended if two are the same."""
    stems = [path.stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
        for stem, path in zip(stems, paths, strict=True)
    ]


def _jpeg(image: Image) -> bytes:
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    assert done
    return encoded.tobytes()
