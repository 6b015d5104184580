"""Roommates: who is heard as a whole group is heard, though it claims to stand elsewhere.

Two radios in one room look alike to some extent; eight of them leave a profile: who hears them how
well, and who doesn't. A hotspot is held against the profile of all others that look like its
roommates, and against what its claimed cell promises, every point and site offset of it granted.
That the room may be where the hotspot truly stands, and the others lie, is the third story: the
room must lie elsewhere by the law of loss, too.

Needs: three witnesses of it who hear the group. Abstains otherwise. Doesn't catch: who is heard by
fewer, and rooms whose keys claim touching cells.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.network import Floats, Ints, Network
from coverage_map.audit.place import get_spreads_m
from coverage_map.audit.surroundings import Surroundings

MATES = 7  # most alike, kept of each
ROOMS, MEMBERS = 3, 9  # looked at for each hotspot; most others in one


def judge_roommates(
    network: Network, around: Surroundings, mates: Ints, mate_nats: Floats, looked: Ints
) -> tuple[Floats, Ints]:
    """`judge_all`'s columns and partners, by the `mates` [n, MATES] of each, -1: none."""
    from coverage_map.audit.roommates_kernels import judge_all

    count = len(network)
    keys = around.own * count + around.anchor
    order = np.asarray(np.argsort(keys), np.int64)
    keys = np.asarray(keys[order], np.int64)
    law = network.law_columns(network.kind)
    rooms, sizes = find_rooms(network, mates, mate_nats)
    out = np.full((count, 3), np.nan)
    partner = np.full(count, -1, np.int64)
    judge_all(
        around.starts,
        around.near,
        around.anchor,
        keys,
        order,
        law,
        around.mean_offset_db,
        network.positions_m,
        network.blur_m,
        get_spreads_m(network, around),
        rooms,
        sizes,
        looked,
        out,
        partner,
    )
    return out, partner


def find_rooms(network: Network, mates: Ints, mate_nats: Floats) -> tuple[Ints, Ints]:
    """Groups to hold each hotspot against: its likeliest mates, each with who looks like it.

    Who is in a group never depends on the hotspot itself.
    """
    count = len(mates)
    fellows: list[dict[int, float]] = [{} for _ in range(count)]
    for one, rank in zip(*np.nonzero((mates >= 0) & (mate_nats > 0.0)), strict=True):
        other, nats = int(mates[one, rank]), float(mate_nats[one, rank])
        for here, there in ((int(one), other), (other, int(one))):
            fellows[here][there] = max(nats, fellows[here].get(there, nats))
    rooms = np.zeros((count, ROOMS, MEMBERS), np.int64)
    sizes = np.zeros((count, ROOMS), np.int64)
    for own in range(count):
        for number in range(ROOMS):
            mate = int(mates[own, number])
            if mate < 0:
                break
            known = fellows[mate]
            group = [mate, *sorted(known, key=lambda key: (-known[key], key))]
            group = [k for k in group if k != own and are_apart(network, own, k)][:MEMBERS]
            if group and group[0] == mate:
                rooms[own, number, : len(group)], sizes[own, number] = group, len(group)
    return rooms, sizes


def are_apart(network: Network, one: int, other: int) -> bool:
    """Whether two may not be neighbours in one house by what they claim, nor of one owner."""
    apart_m = float(np.hypot(*(network.positions_m[one] - network.positions_m[other])))
    owners = network.claims.owner
    touch = apart_m <= network.blur_m[one] + network.blur_m[other]
    return bool(not touch and owners[one] != owners[other])
