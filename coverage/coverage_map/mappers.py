"""Where the map should be measured next, and how much uncertainty a drive removed.

Measuring at a place makes the whole neighbourhood surer, and by the process's covariance alone: the
reading itself need not be known. So a drive is planned greedily: each next place is the one that
removes most of what the places before it left (variance in dB^2 summed over the wanted cells), a
choice within 63 % of the best where gains diminish (Krause and others, JMLR 9, 2008). The same sum
says what a finished drive was worth to the map; what the ledger pays is chain/rules/mappings.py's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from coverage_map.estimator.field import Field
from coverage_map.estimator.kernels import covariance
from coverage_map.estimator.links import Ints, Links, join_links
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]

PLACES_MAX = 3_000  # joint covariance of places and candidates: 72 MB at most


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Candidates to measure, best first, and the variance each removes, in dB^2 over all places."""

    chosen: Ints
    removed_db2: Floats
    left_db2: float


def posterior(field: Field, links: Links) -> Floats:
    """Covariance [n, n] in dB^2 of the signal at links, given all that the field knows."""
    prior = covariance(links, links, field.scales, field.frame)
    cross = covariance(field.links, links, field.scales, field.frame)
    known = solve_triangular(field.factor, cross, lower=True, check_finite=False)
    return np.asarray(prior - known.T @ known)


def plan_drive(field: Field, places: Links, candidates: Links, count: int) -> Plan:
    """The `count` candidates that make `places` surest, one after the other.

    Equal gains go to the candidate that comes first. Raises ValueError for more than PLACES_MAX
    places and candidates together.
    """
    if not 0 < count <= len(candidates):
        raise InvalidInputError("count", "not from 1 to the candidates", "ask for fewer places")
    if len(places) + len(candidates) > PLACES_MAX:
        raise InvalidInputError(
            "places", f"over {PLACES_MAX} with the candidates", "take a smaller area"
        )
    matrix = posterior(field, join_links(places, candidates))
    wanted = len(places)
    chosen, removed = [], []
    for _ in range(count):
        gains = gains_db2(matrix, wanted, field.scales.noise**2)
        best = int(np.argmax(gains))
        chosen.append(best)
        removed.append(float(gains[best]))
        matrix = condition(matrix, wanted + best, field.scales.noise**2)
    left = float(np.trace(matrix[:wanted, :wanted]))
    return Plan(np.array(chosen, np.int64), np.array(removed), left)


def gains_db2(matrix: Floats, wanted: int, noise_db2: float) -> Floats:
    """Variance that a reading at each candidate removes from the first `wanted` places."""
    cross = matrix[:wanted, wanted:]
    own = np.diag(matrix)[wanted:] + noise_db2
    return np.asarray((cross**2).sum(axis=0) / own)


def condition(matrix: Floats, at: int, noise_db2: float) -> Floats:
    """Covariance after one reading at row `at` (Rasmussen and Williams, eq. 2.24)."""
    column = matrix[:, at]
    return np.asarray(matrix - np.outer(column, column) / (column[at] + noise_db2))


def removed_db2(field: Field, places: Links, driven: Links) -> float:
    """Variance in dB^2 that the readings `driven` remove from `places`, whatever they said."""
    matrix = posterior(field, join_links(places, driven))
    wanted = len(places)
    own = matrix[wanted:, wanted:].copy()
    own[np.diag_indices(len(driven))] += field.scales.noise**2
    half = solve_triangular(np.linalg.cholesky(own), matrix[wanted:, :wanted], lower=True)
    return float((half**2).sum())
