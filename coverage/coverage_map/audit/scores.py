"""One score per hotspot: what all tests say together, against what honest hotspots score.

A test's nats become surprise: -ln of the share of honest hotspots with as much, by the quantiles in
calibrated.py and an exponential tail beyond the 99th. Tests that look at the same numbers speak
with one voice, the loudest; voices are added as far as each is rarer than one in twenty, and never
more of it than the nats themselves: a likelihood ratio of c is seen in one of c honest hotspots at
most, and few data, whose nats are near 0, are no evidence. So more evidence never lowers a score,
and a test that abstains changes nothing.

Suspects may not testify: the audit runs again without those far above the threshold, then without
those above it, so that the neighbours of liars are judged by the honest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.calibrated import TAILS, THRESHOLD
from coverage_map.audit.carried import compute_carried
from coverage_map.audit.clusters import compute_clusters
from coverage_map.audit.colocation import compute_colocation
from coverage_map.audit.copying import compute_copying
from coverage_map.audit.links import Evidence, compute_evidence
from coverage_map.audit.network import Network, build_network
from coverage_map.audit.outcome import Outcome
from coverage_map.audit.place import compute_places, get_worst
from coverage_map.audit.reciprocity import compute_one_way, compute_power, compute_reciprocity
from coverage_map.audit.slope import compute_sent_slope, compute_slope
from coverage_map.audit.spectrum import compute_spectrum
from coverage_map.audit.surroundings import find_surroundings
from coverage_map.audit.table import Claims, Hearings
from coverage_map.audit.trust import with_trust
from coverage_map.audit.vouched import compute_vouched

Floats = NDArray[np.float64]

# Tests by what they look at: packets, two directions, geometry, who tells, likeness of two keys.
VOICES: tuple[tuple[str, ...], ...] = (
    ("slope", "spectrum"),
    ("reciprocity", "one_way", "power", "sent_slope"),
    ("place", "clusters"),
    ("vouched",),
    ("carried",),
    ("colocation", "copying"),
)
PARTS = ("location", "opportunity", "misfit")  # they speak through `place`, which adds them
TESTS = tuple(TAILS)
HEARD_FROM = math.log(20.0)  # surprise that a voice must exceed to be added
MOST_SURPRISE = 40.0
# Surprise that a nat allows. Of `vouched` half a nat makes e times fewer honest hotspots, and 0.7 %
# have any, measured over 40,000 of them: its story has no parameters that were fitted to what it
# judges.
NAT_SURPRISE = {"vouched": 2.15}
SUSPECT_AT = (4.0, 2.0, 1.0)  # times the threshold, round by round

Note = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What an audit found, per hotspot index.

    `outcomes`: each test's statistic, nats, samples and partner, NaN where it abstains.
    `surprise` [hotspots, tests] in the order of TESTS, NaN likewise. `combined`: NaN if every test
    abstains. `margin` = threshold - combined: below 0 for findings. `network`: what the last round
    of tests looked at.
    """

    outcomes: dict[str, Outcome]
    surprise: Floats
    combined: Floats
    threshold: float
    network: Network

    @property
    def margin(self) -> Floats:
        """By how much each stays below the threshold."""
        return np.asarray(self.threshold - self.combined, np.float64)

    @property
    def values(self) -> Floats:
        """`surprise`, by the name that tables of scores usually have."""
        return self.surprise

    def loudest(self, hotspot: int) -> str:
        """The test that surprises most; empty if all abstain."""
        row = self.surprise[hotspot]
        if np.isnan(row).all():
            return ""
        test = TESTS[int(np.nanargmax(row))]
        return "place" if test in PARTS else test


def compute_scores(
    hearings: Hearings | Iterable[Hearings],
    claims: Claims,
    *,
    threshold: float = THRESHOLD,
    note: Note = lambda *_: None,
) -> Scores:
    """Scores from receptions, as one table or as blocks with ascending epochs.

    InvalidInputError (a ValueError) for receptions of hotspots that claim nothing. `note(done,
    total)` is called between steps.
    """
    blocks = [hearings] if isinstance(hearings, Hearings) else hearings
    evidence = compute_evidence(blocks, claims)
    note(1, 2 + len(SUSPECT_AT))
    return score_evidence(evidence, claims, threshold=threshold, note=note)


def score_evidence(
    evidence: Evidence,
    claims: Claims,
    *,
    threshold: float = THRESHOLD,
    note: Note = lambda *_: None,
) -> Scores:
    """Scores from evidence that was gathered before."""
    claims = with_trust(claims, evidence.links)
    suspects = np.zeros(len(claims), np.bool_)
    scores = judge(build_network(evidence, claims, suspects), threshold)
    note(2, 2 + len(SUSPECT_AT))
    for number, factor in enumerate(SUSPECT_AT):
        found = scores.combined > factor * threshold
        if not np.array_equal(found, suspects) and not found.all():
            suspects = found
            scores = judge(build_network(evidence, claims, suspects), threshold)
        note(3 + number, 2 + len(SUSPECT_AT))
    return scores


def judge(network: Network, threshold: float) -> Scores:
    """All tests over one network, and their sum."""
    told = find_surroundings(network)
    outcomes = {
        "slope": compute_slope(network),
        "sent_slope": compute_sent_slope(network),
        "reciprocity": compute_reciprocity(network),
        "power": compute_power(network),
        "one_way": compute_one_way(network, told[0]),
        **compute_places(network, told),
        "vouched": get_worst([compute_vouched(network, around) for around in told]),
        "carried": compute_carried(network, told),
        "colocation": compute_colocation(network, told[0]),
        "copying": compute_copying(network),
        "spectrum": compute_spectrum(network),
        "clusters": compute_clusters(network),
    }
    nats = np.column_stack([outcomes[test].nats for test in TESTS])
    surprise = compute_surprises(nats)
    return Scores(outcomes, surprise, combine(surprise), threshold, network)


def compute_surprises(nats: Floats) -> Floats:
    """`compute_surprise` of all tests, [hotspots, tests]."""
    return np.column_stack([compute_surprise(t, nats[:, i]) for i, t in enumerate(TESTS)])


def compute_surprise(test: str, nats: Floats) -> Floats:
    """-ln of the share of honest hotspots whose test says as much; NaN where it abstains.

    At most the nats, times NAT_SURPRISE, above HEARD_FROM.
    """
    middle, rare, tail = TAILS[test]
    slope = (math.log(100.0) - math.log(2.0)) / max(rare - middle, 1e-9)
    common = math.log(2.0) + slope * (nats - middle)
    beyond = math.log(100.0) + (nats - rare) / tail
    most = HEARD_FROM + NAT_SURPRISE.get(test, 1.0) * np.maximum(nats, 0.0)
    surprise = np.minimum(np.where(nats > rare, beyond, common), most)
    return np.asarray(np.clip(surprise, 0.0, MOST_SURPRISE))


def combine(surprise: Floats) -> Floats:
    """Add the voices, each as far as it is rare; a voice of several tests pays for choosing."""
    total = np.zeros(len(surprise))
    for voice in VOICES:
        columns = surprise[:, [TESTS.index(test) for test in voice]]
        loudest = np.max(np.nan_to_num(columns), axis=1) - math.log(len(voice))
        total += np.maximum(0.0, loudest - HEARD_FROM)
    return np.where(np.isnan(surprise).all(axis=1), np.nan, total)
