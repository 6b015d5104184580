"""The law of loss: two lines over distance, one for clear paths, one for obstructed ones.

A path is clear or it isn't, and a clear one loses 20 dB less: one line for both would need a
deviation of 10 to 12 dB, so that nobody's place could be told from another block. The chance of a
clear path falls with distance (3GPP TR 38.901, 7.4.2, has formulas for kinds of places; here it is
a logistic curve of lg d, fitted). Loss of either kind:

    L(d) = A + 10 n lg(d / 100 m) + a_i + a_j + S

with both sites' offsets (height, clutter, gain) and shadowing S of the line's deviation.

Fitted by maximum likelihood, in turns (expectation and maximisation over which paths are clear), to
pairs that hear each other and to pairs that don't though both were there: leaving the silent ones
out would make far links look better than they are (Tobin 1958, "Estimation of relationships for
limited dependent variables"). City, suburb and farmland have laws of their own.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, ndtr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NEAREST_M = 30.0  # the law is not believed below
OFFSET_SIGMA_DB = 6.0
KIND_LEAST = 100  # heard pairs for a law of its own
ROUNDS = 30
LEAST_HEARD = 10
FLOOR_MARGIN_DB = 8.0  # links nearer to the floor show only the lucky half of their residuals
SIGMA_LEAST = 30.0  # clear and obstructed pairs for deviations of their own
LIMITS_DB = ((5.0, 12.0), (3.0, 5.0))  # of the deviations, obstructed and clear
FARTHEST = 3.0  # deviations: an outlier pulls no more than these do
# What the fit starts from and is held to, each worth some pairs: free space and a little for clear
# paths, 3.5 for obstructed ones where distances are all alike.
CLEAR_SIGMA_DB, CLEAR_EXPONENT_SIGMA = 2.0, 0.1
EXPONENT_SIGMA = 0.2
LOGIT_SIGMA = (1.5, 1.0)


@dataclass(frozen=True, slots=True)
class Law:
    """Median loss at 100 m in dB, exponent and deviation in dB, of obstructed and of clear paths.

    The logit of a clear path's chance is `clear_logit` + `clear_fall` lg(d / 100 m).
    """

    at_100m_db: float = 100.0
    exponent: float = 3.5
    sigma_db: float = 8.0
    clear_at_100m_db: float = 82.0
    clear_exponent: float = 2.2
    clear_sigma_db: float = 4.0
    clear_logit: float = -1.0
    clear_fall: float = -3.0


FREE = Law()


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """The pairs that a fit rests on; `reach`: decades of distance from 100 m."""

    first: Ints
    second: Ints
    reach: Floats
    heard: Flags
    loss_db: Floats
    most_db: Floats
    kind: Ints

    def take(self, kept: Flags | Ints) -> Sound:
        """Some of the pairs."""
        return Sound(*(getattr(self, each.name)[kept] for each in fields(self)))


def get_reach(distance_m: Floats) -> Floats:
    """Decades of distance from 100 m."""
    return np.asarray(np.log10(np.maximum(distance_m, NEAREST_M) / 100.0), np.float64)


def make_columns(laws: tuple[Law, ...], kind: Ints) -> Floats:
    """The law of each kind as place_kernels wants it, [n, 8]: dB per decade for exponents."""
    table = np.array([astuple(law) for law in laws])
    table[:, [1, 4]] *= 10.0
    return np.asarray(table[kind], np.float64)


def compute_hearing(columns: Floats, reach: Floats, offset_db: Floats, most_db: Floats) -> Floats:
    """Chance that a path loses less than `most_db`; `offset_db` of both sites together."""
    obstructed = columns[:, 0] + columns[:, 1] * reach + offset_db
    clear = columns[:, 3] + columns[:, 4] * reach + offset_db
    chance = expit(columns[:, 6] + columns[:, 7] * reach)
    through = ndtr((most_db - obstructed) / columns[:, 2])
    return np.asarray(
        chance * ndtr((most_db - clear) / columns[:, 5]) + (1.0 - chance) * through, np.float64
    )


def fit_laws(sound: Sound, count: int, kinds: int) -> tuple[tuple[Law, ...], Floats]:
    """The law of every kind, and every site's offset in dB against them.

    A kind with few pairs takes the law of all; with hardly any pairs, nothing is fitted.
    """
    offset, laws = np.zeros(count), (FREE,) * (kinds + 1)
    if np.count_nonzero(sound.heard) < LEAST_HEARD:
        return laws[:kinds], offset
    heard = np.bincount(sound.kind[sound.heard], minlength=kinds)
    own = [kind for kind in range(kinds) if heard[kind] >= KIND_LEAST]
    place = np.where(np.isin(sound.kind, own), sound.kind, kinds)
    parts = [np.flatnonzero(place == kind) for kind in range(kinds + 1)]
    for _ in range(ROUNDS):
        gap = offset[sound.first] + offset[sound.second]
        laws = tuple(
            _step_law(law, sound.take(part), gap[part]) if len(part) else law
            for law, part in zip(laws, parts, strict=True)
        )
        offset = _step_offsets(offset, sound, make_columns(laws, place))
    return tuple(laws[k] if k in own else laws[kinds] for k in range(kinds)), offset


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """All pairs as if their paths were obstructed, or as if clear."""

    median_db: Floats
    sigma_db: Floats
    log_likelihood: Floats
    score: Floats
    curvature: Floats


def _make_state(sound: Sound, median_db: Floats, sigma_db: Floats) -> _State:
    """Likelihoods, their first derivative by the median loss, and minus the second."""
    rest = np.where(sound.heard, sound.loss_db - median_db, 0.0) / sigma_db
    above = (median_db - sound.most_db) / sigma_db
    silence = log_ndtr(above)
    ratio = np.exp(-0.5 * above**2 - silence) / np.sqrt(2 * np.pi)
    told = np.where(sound.heard, -0.5 * rest**2 - np.log(sigma_db * np.sqrt(2 * np.pi)), silence)
    score = np.where(sound.heard, np.clip(rest, -FARTHEST, FARTHEST), ratio) / sigma_db
    curvature = np.where(sound.heard, 1.0, ratio * (ratio + above)) / sigma_db**2
    return _State(median_db, sigma_db, told, score, np.maximum(curvature, 1e-9))


def _make_states(sound: Sound, columns: Floats, gap_db: Floats) -> tuple[_State, _State, Floats]:
    """Both, and how likely each pair's path is a clear one."""
    obstructed = columns[:, 0] + columns[:, 1] * sound.reach + gap_db
    clear = columns[:, 3] + columns[:, 4] * sound.reach + gap_db
    one = _make_state(sound, obstructed, columns[:, 2])
    other = _make_state(sound, clear, columns[:, 5])
    odds = columns[:, 6] + columns[:, 7] * sound.reach
    return one, other, expit(odds + other.log_likelihood - one.log_likelihood)


def _step_law(law: Law, sound: Sound, gap_db: Floats) -> Law:
    """One turn: which paths are clear, then a Gauss-Newton step of both lines and the chance."""
    columns = make_columns((law,), np.zeros(len(sound.reach), np.int64))
    one, other, is_clear = _make_states(sound, columns, gap_db)
    at_100m, exponent = _step_line(
        (law.at_100m_db, law.exponent), sound, one, 1.0 - is_clear,
        (FREE.at_100m_db, FREE.exponent), (100.0, EXPONENT_SIGMA),
    )
    clear_at, clear_exponent = _step_line(
        (law.clear_at_100m_db, law.clear_exponent), sound, other, is_clear,
        (FREE.clear_at_100m_db, FREE.clear_exponent), (CLEAR_SIGMA_DB, CLEAR_EXPONENT_SIGMA),
    )
    bias, fall = _step_logit((law.clear_logit, law.clear_fall), sound, is_clear)
    return replace(
        law,
        at_100m_db=at_100m,
        exponent=float(np.clip(exponent, 2.0, 5.5)),
        sigma_db=_get_sigma(law.sigma_db, sound, one, 1.0 - is_clear, LIMITS_DB[0]),
        clear_at_100m_db=clear_at,
        clear_exponent=clear_exponent,
        clear_sigma_db=_get_sigma(law.clear_sigma_db, sound, other, is_clear, LIMITS_DB[1]),
        clear_logit=bias,
        clear_fall=float(np.clip(fall, -8.0, 0.0)),
    )


def _step_line(
    line: tuple[float, float],
    sound: Sound,
    state: _State,
    weight: Floats,
    prior: tuple[float, float],
    spread: tuple[float, float],
) -> tuple[float, float]:
    """DB at 100 m and exponent after a step."""
    basis = np.column_stack([np.ones(len(weight)), 10.0 * sound.reach])
    held = 1.0 / np.square(spread)
    normal = basis.T @ (basis * (weight * state.curvature)[:, None]) + np.diag(held)
    pull = basis.T @ (weight * state.score) + held * (np.array(prior) - line)
    step = np.clip(np.linalg.solve(normal, pull), [-10.0, -0.5], [10.0, 0.5])
    return line[0] + float(step[0]), line[1] + float(step[1])


def _step_logit(
    line: tuple[float, float], sound: Sound, is_clear: Floats
) -> tuple[float, float]:
    """Bias and slope of the clear paths' logit after a Newton step."""
    basis = np.column_stack([np.ones(len(is_clear)), sound.reach])
    chance = expit(basis @ np.array(line))
    held = 1.0 / np.square(LOGIT_SIGMA)
    normal = basis.T @ (basis * (chance * (1.0 - chance))[:, None]) + np.diag(held)
    pull = basis.T @ (is_clear - chance)
    pull += held * (np.array([FREE.clear_logit, FREE.clear_fall]) - line)
    step = np.clip(np.linalg.solve(normal, pull), -1.0, 1.0)
    return line[0] + float(step[0]), line[1] + float(step[1])


def _get_sigma(
    before_db: float, sound: Sound, state: _State, weight: Floats, limits_db: tuple[float, float]
) -> float:
    """Deviation of links well above the floor, by their weights."""
    used = sound.heard & (state.median_db < sound.most_db - FLOOR_MARGIN_DB)
    total = float(weight[used].sum())
    if total < SIGMA_LEAST:
        return before_db
    rest = np.clip(sound.loss_db[used] - state.median_db[used], -30.0, 30.0)
    return float(np.clip(np.sqrt(np.sum(weight[used] * rest**2) / total), *limits_db))


def _step_offsets(offset: Floats, sound: Sound, columns: Floats) -> Floats:
    """Half a Newton step of every site's offset: both ends of a pair move at once."""
    gap = offset[sound.first] + offset[sound.second]
    one, other, is_clear = _make_states(sound, columns, gap)
    score = is_clear * other.score + (1.0 - is_clear) * one.score
    curvature = is_clear * other.curvature + (1.0 - is_clear) * one.curvature
    ends = np.concatenate([sound.first, sound.second])
    slope = np.bincount(ends, np.concatenate([score, score]), len(offset))
    bend = np.bincount(ends, np.concatenate([curvature, curvature]), len(offset))
    held = 1.0 / OFFSET_SIGMA_DB**2
    return np.asarray(offset + 0.5 * (slope - held * offset) / (bend + held), np.float64)


