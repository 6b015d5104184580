"""What faults do to the air: noise that rises, walls that split it, radios that move.

One object keeps what is wrong at the moment and tells the medium the sum: noise powers add, several
partitions cut together, and links are worked out again from where the radios stand now.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from radio_sim.assemble import links_at, radios_of
from radio_sim.links import Links
from radio_sim.medium import Medium
from radio_sim.scenario import Scenario

METRES_PER_DEGREE = np.pi / 180.0 * 6_371_007.18  # on H3's sphere, as radio_sim.links lays it out
CHANNEL_REACH_MHZ = 20  # noise on a channel reaches receivers tuned this near

Group = NDArray[np.bool_]


class AirFaults:
    """The air of one world. `movers` are the hotspots that will ever move."""

    def __init__(self, scenario: Scenario, medium: Medium, seed: int, movers: set[int]) -> None:
        self._scenario = scenario
        self._medium = medium
        self._seed = seed
        self._movers = frozenset(movers)
        self._radios = radios_of(scenario)
        self._homes_m = self._radios.positions_m
        latitudes = [site.lat for site in scenario.hotspots]
        middle = np.radians((min(latitudes) + max(latitudes)) / 2.0)
        self._scale = METRES_PER_DEGREE * np.array([np.cos(middle), 1.0])
        self._whole = medium.links
        self._still: Links | None = None  # links between two that never move
        self._noises: dict[int, tuple[Group, float]] = {}
        self._walls: dict[int, Group] = {}

    # --- noise ------------------------------------------------------------------------------

    def begin_noise(
        self, number: int, nodes: tuple[int, ...], rise_db: float, frequency_mhz: int | None
    ) -> None:
        """Raise these receivers' noise floor, or of those among them tuned near a channel."""
        group = self._group(nodes)
        if frequency_mhz is not None:
            apart = np.abs(self._radios.frequency_mhz - frequency_mhz)
            group &= apart <= CHANNEL_REACH_MHZ
        self._noises[number] = (group, rise_db)
        self._tell_noise()

    def end_noise(self, number: int) -> None:
        """That noise is over."""
        del self._noises[number]
        self._tell_noise()

    def _tell_noise(self) -> None:
        """Powers add: a rise of r dB is 10^(r/10) - 1 more noise floors."""
        floors = np.ones(len(self._scenario.hotspots))
        for group, rise_db in self._noises.values():
            floors[group] += 10.0 ** (rise_db / 10.0) - 1.0
        self._medium.set_noise_rise(10.0 * np.log10(floors))

    # --- walls ------------------------------------------------------------------------------

    def begin_wall(self, number: int, nodes: tuple[int, ...]) -> None:
        """From now on these and all others don't hear each other."""
        self._walls[number] = self._group(nodes)
        self._tell_links()

    def end_wall(self, number: int) -> None:
        """That wall is gone."""
        del self._walls[number]
        self._tell_links()

    # --- movement ---------------------------------------------------------------------------

    def move(self, places: dict[int, tuple[float, float]]) -> None:
        """Radios stand at (latitude, longitude) from now on, all others where they stood."""
        positions = self._radios.positions_m.copy()
        for node, (latitude, longitude) in places.items():
            site = self._scenario.hotspots[node]
            away = np.array([longitude - site.lon, latitude - site.lat]) * self._scale
            positions[node] = self._homes_m[node] + away
        self._radios = replace(self._radios, positions_m=positions)
        moved = links_at(
            self._scenario, self._radios, self._seed, self._movers, only_movers=True
        )
        self._whole = join_links(self._between_still(), moved)
        self._tell_links()

    def _between_still(self) -> Links:
        if self._still is None:
            homes = replace(self._radios, positions_m=self._homes_m)
            links = links_at(self._scenario, homes, self._seed, self._movers)
            moves = np.zeros(len(self._homes_m), bool)
            moves[sorted(self._movers)] = True
            self._still = keep_links(links, ~moves[senders_of(links)] & ~moves[links.neighbours])
        return self._still

    def positions_m(self) -> NDArray[np.float64]:
        """Where all radios stand now, in metres on the world's plane."""
        return self._radios.positions_m

    # --- inside -----------------------------------------------------------------------------

    def _group(self, nodes: tuple[int, ...]) -> Group:
        group = np.zeros(len(self._scenario.hotspots), bool)
        group[list(nodes)] = True
        return group

    def _tell_links(self) -> None:
        links = self._whole
        for group in self._walls.values():
            links = cut_links(links, group)
        self._medium.set_links(links)


def cut_links(links: Links, group: Group) -> Links:
    """The links within a group and within the rest."""
    return keep_links(links, group[senders_of(links)] == group[links.neighbours])


def senders_of(links: Links) -> NDArray[np.int64]:
    """The sender of each link."""
    return np.repeat(np.arange(len(links.starts) - 1), np.diff(links.starts))


def keep_links(links: Links, keep: Group) -> Links:
    """Some of the links, in their order."""
    counts = np.bincount(senders_of(links)[keep], minlength=len(links.starts) - 1)
    return replace(
        links,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        neighbours=links.neighbours[keep],
        rssi_dbm=links.rssi_dbm[keep],
    )


def join_links(one: Links, other: Links) -> Links:
    """The links of both, which have none in common."""
    senders = np.concatenate([senders_of(one), senders_of(other)])
    neighbours = np.concatenate([one.neighbours, other.neighbours])
    order = np.lexsort((neighbours, senders))
    counts = np.bincount(senders, minlength=len(one.starts) - 1)
    return replace(
        one,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        neighbours=neighbours[order],
        rssi_dbm=np.concatenate([one.rssi_dbm, other.rssi_dbm])[order],
    )
