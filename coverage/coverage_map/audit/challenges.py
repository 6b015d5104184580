"""Targeted challenges: who shall listen for a suspect, drawn so that nobody can choose them.

Half of the witnesses are strangers drawn from all anchors in radio reach of the claimed place, half
from the far ones among those: hotspots that don't hear the suspect's usual neighbours either, so
that a ring can't be its own judge. The lots come from the network's public randomness, after the
finding, so that neither side can prepare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chain.draws import digest, u32
from coverage_map.audit.network import Flags, Ints, Network

WITNESSES = 8
# Anchors whose distance makes hearing likely enough to be worth asking: as many nearest ones.
REACH = 40


@dataclass(frozen=True, slots=True)
class Challenge:
    """Witnesses, by index ascending, that are asked to report whatever they hear of a subject."""

    subject: int
    random: tuple[int, ...]
    far: tuple[int, ...]


def draw_challenge(
    network: Network, subject: int, mix: bytes, witnesses: int = WITNESSES
) -> Challenge:
    """Draw the witnesses of a challenge by the mix of an epoch after the finding.

    Fewer than `witnesses` where there are fewer anchors; never the subject, its owner's hotspots or
    those under suspicion.
    """
    near = find_near(network, subject)
    is_far = ~np.isin(near, find_circle(network, subject))
    lots = sorted((digest("challenge", mix, u32(subject), u32(int(w))), int(w)) for w in near)
    far = set(near[is_far].tolist())
    chosen_far = [witness for _, witness in lots if witness in far][: witnesses // 2]
    rest = [witness for _, witness in lots if witness not in chosen_far]
    chosen = rest[: witnesses - len(chosen_far)]
    return Challenge(subject, tuple(sorted(chosen)), tuple(sorted(chosen_far)))


def find_near(network: Network, subject: int) -> Ints:
    """The anchors nearest to the claimed place, but for the subject's owner's."""
    claims, places = network.claims, network.positions_m
    allowed = network.anchor & (claims.owner != claims.owner[subject])
    anchors = np.flatnonzero(allowed)
    apart = np.hypot(*(places[anchors] - places[subject]).T)
    return np.sort(anchors[np.lexsort((anchors, apart))][:REACH])


def find_circle(network: Network, subject: int) -> Ints:
    """Who hears the subject, or hears those who do: its circle."""
    ring = _mutual_neighbours(network, np.array([subject]))
    return np.union1d(ring, _mutual_neighbours(network, ring))


def _mutual_neighbours(network: Network, of: Ints) -> Ints:
    pairs = network.pairs
    first: Flags = np.isin(pairs.first, of) & pairs.mutual
    second: Flags = np.isin(pairs.second, of) & pairs.mutual
    return np.union1d(pairs.second[first], pairs.first[second])
