"""Ranks candidates by votes on pairs: Bradley and Terry, Biometrika 39 (1952), with intervals.

Candidate i is preferred to j with probability ``s_i / (s_i + s_j)``, where s are strengths. The logarithms of the
strengths are fitted by maximum likelihood, with half a vote added to both sides of each pair that has votes; otherwise
a candidate that won every vote would be infinitely strong. Intervals follow from the curvature of the likelihood. They
assume independent votes, so they are somewhat too narrow if one judge voted on many photos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animevid_trainer.survey.votes import Vote

_Z95 = 1.959964
_PRIOR = 0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate's result in one question. ``share``: expected share of votes won against an average candidate of this
    survey, with a 95 % interval from ``low`` to ``high``. It won ``won`` of ``votes`` votes."""

    name: str
    share: float
    low: float
    high: float
    won: int
    votes: int


def rank(votes: Sequence[Vote], question: str) -> list[Standing]:
    """Rank the candidates in ``question``, the strongest first; empty without votes."""
    names = sorted({name for vote in votes for name in vote.pair})
    if not names:
        return []
    place = {name: index for index, name in enumerate(names)}
    wins: NDArray[np.float64] = np.zeros((len(names), len(names)))
    for vote in votes:
        winner = getattr(vote, question)
        loser = vote.right if winner == vote.left else vote.left
        wins[place[winner], place[loser]] += 1.0
    met = (wins + wins.T) > 0
    strengths, covariance = _fit(wins + _PRIOR * met)
    spread = _Z95 * np.sqrt(np.diag(covariance))
    standings = [
        Standing(
            name,
            _share(strengths[index]),
            _share(strengths[index] - spread[index]),
            _share(strengths[index] + spread[index]),
            int(wins[index].sum()),
            int(wins[index].sum() + wins[:, index].sum()),
        )
        for name, index in place.items()
    ]
    return sorted(standings, key=lambda standing: (-standing.share, standing.name))


def _fit(wins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit by Newton's method: (log strengths with sum 0, covariance). ``wins[i, j]``: how often i beat j."""
    played = wins + wins.T
    strengths = np.zeros(len(wins))
    for _ in range(100):
        expected = played / (1.0 + np.exp(strengths[None, :] - strengths[:, None]))
        slope = (wins - expected).sum(1)
        step = np.linalg.pinv(_information(played, strengths)) @ slope
        strengths = strengths + np.clip(step, -2.0, 2.0)
        strengths -= strengths.mean()
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(strengths, np.float64), np.asarray(np.linalg.pinv(_information(played, strengths)), np.float64)


def _information(played: NDArray[np.float64], strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the negative Hessian of the log likelihood: a graph Laplacian, whose null space is a common factor."""
    chance = 1.0 / (1.0 + np.exp(strengths[None, :] - strengths[:, None]))
    weight = played * chance * (1.0 - chance)
    return np.asarray(np.diag(weight.sum(1)) - weight, np.float64)


def _share(log_strength: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_strength))
