"""Hotspots as the simulator runs them: the shipping node and relay behind one agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import h3

from chain.draws import digest
from chain.keys import public_key
from chain.params import Params
from chain.records import Refusal, Registration
from hotspot.actions import Action
from hotspot.directory import Directory
from hotspot.node import HotspotNode, Identity, Memory, Spoken, Verifier, read_spoken
from hotspot.overlay.relay import RelayNode
from hotspot.radio.frame import parse_frame
from hotspot.secrets import SecretChain
from radio_sim.scenario import HotspotSite

# A receive header without any field: what a frame says doesn't depend on who got it.
_BARE_HEADER = bytes((0, 0, 8, 0, 0, 0, 0, 0))
RESOLUTION = 10  # honest owners of a simulated city publish 130 m hexagons


@dataclass(frozen=True, slots=True)
class Keys:
    """Seeds of one simulated hotspot and its owner, derived from the run's master seed."""

    hotspot: bytes
    owner: bytes


def keys_of(master: bytes, name: str) -> Keys:
    """Seeds by name, so that a hotspot keeps its keys when a scenario grows."""
    return Keys(
        digest("sim-hotspot", master, name.encode()), digest("sim-owner", master, name.encode())
    )


def published_place(spec: HotspotSite) -> tuple[int, int, int]:
    """(cell, latitude, longitude in micro-degrees): its centre is all that others are told."""
    cell = h3.latlng_to_cell(spec.lat, spec.lon, RESOLUTION)
    latitude, longitude = h3.cell_to_latlng(cell)
    return int(cell, 16), round(latitude * 1e6), round(longitude * 1e6)


def registration_of(
    spec: HotspotSite, keys: Keys, chain: SecretChain, frequency_mhz: int
) -> Registration:
    """The assertion an honest owner of this hotspot makes."""
    cell, latitude_udeg, longitude_udeg = published_place(spec)
    return Registration(
        key=public_key(keys.hotspot),
        owner=public_key(keys.owner),
        cell=cell,
        latitude_udeg=latitude_udeg,
        longitude_udeg=longitude_udeg,
        height_m=max(1, round(spec.height_m)),
        gain_cdb=round(100 * spec.gain_dbi),
        eirp_cdbm=round(100 * spec.eirp_dbm),
        frequency_mhz=frequency_mhz,
        flags=1,
        first_epoch=chain.first_epoch,
        chain_length=chain.length,
        anchor=chain.anchor,
    )


@dataclass(frozen=True, slots=True)
class Network:
    """What all agents of a run share."""

    network_id: bytes
    start_ms: int
    params: Params
    directory: Directory
    verifier: Verifier


def make_node(
    spec: HotspotSite,
    keys: Keys,
    chain: SecretChain,
    network: Network,
    frequency_mhz: int,
    memory: Memory | None = None,
) -> HotspotNode:
    """The shipping node with a simulated hotspot's key and place."""
    identity = Identity(
        seed=keys.hotspot,
        network_id=network.network_id,
        start_ms=network.start_ms,
        params=network.params,
        cell=published_place(spec)[0],
        frequency_mhz=frequency_mhz,
    )
    return HotspotNode(identity, chain, network.directory, network.verifier, memory)


class Router(Protocol):
    """A simulated router as the world and its driver see it; faults wrap one in another."""

    @property
    def node(self) -> HotspotNode:
        """The shipping node inside."""

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        """A frame came from the air."""

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        """A datagram came from a neighbour."""

    def receive_mix(self, epoch: int, mix: bytes, now_ns: int) -> None:
        """The ledger answered with the public randomness of an epoch."""

    def receive_registration(self, index: int, bound_epoch: int, now_ns: int) -> None:
        """The ledger knows this hotspot by an index, and its secrets bind from an epoch on."""

    def next_deadline(self) -> int | None:
        """Soonest deadline, in the world's time."""

    def handle_deadline(self, now_ns: int) -> None:
        """Do what is due."""

    def take_actions(self) -> list[Action]:
        """Hand over the actions gathered since the last call."""


class HotspotAgent:
    """One simulated router: a node for the air, and a relay for the overlay once it has one.

    Without a relay all is the node's, so its methods stand for the agent's: in a large world that
    spares a call per event.
    """

    def __init__(self, node: HotspotNode, relay: RelayNode | None = None) -> None:
        self.node = node
        self.relay = relay

    @property
    def relay(self) -> RelayNode | None:
        """The relay; giving one makes the agent ask both machines from then on."""
        return self._relay

    @relay.setter
    def relay(self, relay: RelayNode | None) -> None:
        self._relay = relay
        node = self.node
        lent = (node.next_deadline, node.handle_deadline, node.take_actions)
        for method in lent:
            self.__dict__.pop(method.__name__, None)
            if relay is None:
                self.__dict__[method.__name__] = method
        self.__dict__["receive_shared"] = node.receive_spoken

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        """A frame came from the air."""
        self.node.receive_frame(data, now_ns)

    def receive_shared(
        self, spoken: Spoken, rssi_dbm: int | None, frequency_mhz: int, now_ns: int
    ) -> bool:
        """A frame that was read once for all who heard it; whether there is something to settle."""
        return self.node.receive_spoken(spoken, rssi_dbm, frequency_mhz, now_ns)

    def receive_mix(self, epoch: int, mix: bytes, now_ns: int) -> None:
        """The ledger answered with the public randomness of an epoch."""
        self.node.receive_mix(epoch, mix, now_ns)

    def receive_registration(self, index: int, bound_epoch: int, now_ns: int) -> None:
        """The ledger knows this hotspot by an index, and its secrets bind from an epoch on."""
        self.node.receive_registration(index, bound_epoch, now_ns)

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        """A datagram came from a neighbour."""
        if self.relay is not None:
            self.relay.receive_datagram(data, peer, now_ns)

    def next_deadline(self) -> int | None:
        """Soonest deadline of both machines."""
        first = self.node.next_deadline()
        second = self._relay.next_deadline() if self._relay is not None else None
        if first is None or second is None:
            return first if second is None else second
        return min(first, second)

    def handle_deadline(self, now_ns: int) -> None:
        """Let both machines do what is due."""
        self.node.handle_deadline(now_ns)
        if self.relay is not None:
            self.relay.handle_deadline(now_ns)

    def take_actions(self) -> list[Action]:
        """Actions of both machines."""
        actions = self.node.take_actions()
        if self.relay is not None:
            actions += self.relay.take_actions()
        return actions


def make_reader(directory: Directory) -> Callable[[bytes], Spoken | None]:
    """The `read` of a World of HotspotAgents that share a directory; None for strangers' frames."""

    def read(body: bytes) -> Spoken | None:
        heard = parse_frame(_BARE_HEADER + body)
        return None if isinstance(heard, Refusal) else read_spoken(heard.payload, directory)

    return read


def world_seed(master: bytes) -> int:
    """Seed of the simulated air of a run with this master seed."""
    return int.from_bytes(master[:6], "big")
