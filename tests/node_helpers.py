"""A world of two or three hotspots for tests: frames cross it whole, time is a number."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from chain.draws import digest, genesis_mix, mix
from chain.params import PRESETS, Params
from chain.records import EpochMessage, Signed
from chain.wire import decode
from hotspot.actions import FetchMix, KeepReceptions, SendFrame, SubmitRecord
from hotspot.directory import Directory
from hotspot.node import HotspotNode, Identity, Memory
from hotspot.secrets import SecretChain

NETWORK = digest("test-network")
START_MS = 1_700_000_000_000
TX_RADIOTAP_BYTES = 12
MS = 1_000_000


def received(frame: bytes, rssi_dbm: int = -60) -> bytes:
    """The same MPDU as a receiver's driver would hand it over: TSFT, channel, signal, noise."""
    header = struct.pack("<BBHIQHHbb", 0, 0, 22, 0x69, 1_000, 2437, 0x00A0, rssi_dbm, -95)
    return header + frame[TX_RADIOTAP_BYTES:]


def make_node(
    name: str, params: Params, directory: Directory, memory: Memory | None = None
) -> HotspotNode:
    """A hotspot whose seed comes from its name."""
    seed = digest("test-seed", name.encode())
    identity = Identity(seed, NETWORK, START_MS, params, 0x8928308280FFFFF, 2437)
    return HotspotNode(identity, SecretChain(seed, 1, 200), directory, memory=memory)


def mix_of(epoch: int) -> bytes:
    """A chain of mixes without reveals, enough for tests of a node alone."""
    value = genesis_mix(NETWORK)
    for e in range(1, epoch + 1):
        value = mix(value, e, ())
    return value


@dataclass
class Bench:
    """Runs nodes in virtual time; every frame reaches every other node at once."""

    names: tuple[str, ...] = ("a", "b")
    params: Params = PRESETS["minimal"]
    kept: dict[str, list[KeepReceptions]] = field(default_factory=dict)
    sent: dict[str, list[SendFrame]] = field(default_factory=dict)
    messages: dict[str, list[EpochMessage]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make and register the nodes."""
        self.now_ns = START_MS * MS
        self.directory = Directory()
        self.nodes = {name: make_node(name, self.params, self.directory) for name in self.names}
        for index, node in enumerate(self.nodes.values()):
            node.receive_registration(index, 2, self.now_ns)

    def run_until(self, epoch: float) -> None:
        """Advance to a time given in epochs."""
        end = (START_MS + int(epoch * self.params.epoch_ms)) * MS
        while True:
            due = [d for d in (n.next_deadline() for n in self.nodes.values()) if d is not None]
            self.now_ns = min([end, *due]) if due else end
            if self.now_ns >= end:
                return
            for name in self.nodes:
                self.nodes[name].handle_deadline(self.now_ns)
                self.carry(name)

    def carry(self, name: str) -> None:
        """Carry out what a node asked for."""
        node = self.nodes[name]
        for action in node.take_actions():
            if isinstance(action, SendFrame):
                self.sent.setdefault(name, []).append(action)
                for other in self.nodes.values():
                    other.receive_frame(received(action.frame), self.now_ns)
            elif isinstance(action, FetchMix):
                node.receive_mix(action.epoch, mix_of(action.epoch), self.now_ns)
            elif isinstance(action, KeepReceptions):
                self.kept.setdefault(name, []).append(action)
            elif isinstance(action, SubmitRecord):
                signed = decode(action.wire)
                if isinstance(signed, Signed) and isinstance(signed.record, EpochMessage):
                    self.messages.setdefault(name, []).append(signed.record)
