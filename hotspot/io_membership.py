"""As whom the ledger knows this hotspot, and who its neighbours are.

At the start the ledger is asked for our own key; if it knows none, a registration is submitted. A
neighbour is asked for when it is first heard (`Strangers`), so that a router never holds the
directory of a whole network. What was learnt is kept for a start while the ledger is away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chain.keys import public_key
from chain.records import Registration, SubmitResult
from chain.wire import seal
from hotspot.config import HotspotConfig
from hotspot.directory import Directory
from hotspot.io_queue import DurableQueue
from hotspot.io_uplink import PeerKnown, Uplink
from hotspot.node import HotspotNode
from hotspot.secrets import SecretChain
from hotspot.strangers import Strangers

REGISTER_AGAIN_NS = 600_000_000_000  # after a refusal: somebody may have mended its reason
PEERS_MAX = 256  # neighbours that are known again after a start without the ledger

Note = Callable[[str, bytes], None]  # keeps a small value beside the queue; a full disk is no end


def assertion(config: HotspotConfig, key: bytes, owner: bytes, chain: SecretChain) -> Registration:
    """The registration that these settings and this chain of secrets make."""
    spot = config.hotspot
    return Registration(
        key=key,
        owner=owner,
        cell=int(spot.cell, 16),
        latitude_udeg=spot.latitude_udeg,
        longitude_udeg=spot.longitude_udeg,
        height_m=spot.height_m,
        gain_cdb=spot.gain_cdb,
        eirp_cdbm=spot.eirp_cdbm,
        frequency_mhz=config.radio.frequency_mhz,
        flags=1 if config.radio.can_set_power else 0,
        first_epoch=chain.first_epoch,
        chain_length=chain.length,
        anchor=chain.anchor,
    )


@dataclass(frozen=True, slots=True)
class Owned:
    """The seeds of a hotspot and of its owner, and what it says of itself."""

    seed: bytes
    owner_seed: bytes
    config: HotspotConfig
    network_id: bytes

    @property
    def owner(self) -> bytes:
        """The owner's public key."""
        return public_key(self.owner_seed)

    def sign_registration(self, chain: SecretChain) -> tuple[bytes, bytes]:
        """(record id, wire) of a registration of this chain of secrets, signed by both."""
        record = assertion(self.config, public_key(self.seed), self.owner, chain)
        signed = seal(record, self.network_id, [self.seed, self.owner_seed])
        return signed.record_id, signed.wire


class Membership:
    """Our own place on the ledger, and our neighbours'."""

    def __init__(
        self, owned: Owned, node: HotspotNode, directory: Directory, uplink: Uplink, note: Note
    ) -> None:
        self.registration: tuple[int, int] | None = None  # index, epoch from which it binds
        self._owned = owned
        self._node = node
        self._directory = directory
        self._uplink = uplink
        self._note = note
        self._strangers = Strangers()
        self.refusal = ""  # why the ledger didn't register us when it was asked last
        self._submitted: bytes | None = None  # id of the registration that is under way
        self._tried_ns: int | None = None  # when it was asked last
        self._renewed: tuple[bytes, bytes] | None = None  # record id, the chain that it registers
        self._peers: dict[int, bytes] = {}

    # --- ourselves ----------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """Our index on the ledger, -1 while that is unknown."""
        return -1 if self.registration is None else self.registration[0]

    def ask(self) -> None:
        """While the ledger doesn't know us, ask it who we are."""
        if self.registration is None:
            self._uplink.find_peer(self._node.key)

    def take(self, known: PeerKnown, now_ns: int, *, may_register: bool) -> None:
        """The ledger says who a key is: ourselves, or somebody who was heard."""
        if known.key == self._node.key:
            if known.index is not None:
                self.registration = known.index, known.bind_epoch
            elif may_register and self._submitted is None and self._may_try(now_ns):
                self._tried_ns = now_ns
                self._submitted, wire = self._owned.sign_registration(self._node.secrets)
                self._uplink.submit([wire])
            return
        is_known = known.index is not None
        if known.index is not None:
            self._directory.update([(known.index, known.key)])
        for at_ns, frame in self._strangers.answer(known.key, now_ns, known=is_known):
            self._node.receive_frame(frame, at_ns)

    def _may_try(self, now_ns: int) -> bool:
        """Whether to register (again); a clock that was set back is no reason to wait."""
        tried_ns = self._tried_ns
        return tried_ns is None or not tried_ns <= now_ns < tried_ns + REGISTER_AGAIN_NS

    def settle(self, result: SubmitResult) -> bool:
        """The ledger answered a record; True if new secrets are in force: start anew."""
        if result.record_id == self._submitted:
            if result.accepted:
                self.ask()
            else:  # such as a bond that the account can't pay yet
                self._submitted, self.refusal = None, f"{result.reason}: {result.detail}"
        if self._renewed is None or result.record_id != self._renewed[0]:
            return False
        if result.accepted:
            self._note("chain", self._renewed[1])
        return result.accepted

    def renew(self) -> bool:
        """Register new secrets, unless that is under way: the old ones can't be followed."""
        if self._renewed is not None:
            return False
        length = self._owned.config.hotspot.chain_length
        chain = SecretChain(self._owned.seed, self._node.epoch + 1, length)
        record_id, wire = self._owned.sign_registration(chain)
        self._renewed = record_id, json.dumps([chain.first_epoch, length]).encode()
        self._uplink.submit([wire])
        return True

    # --- neighbours ---------------------------------------------------------------------------

    def hear_strangers(
        self, frames: Sequence[bytes], now_ns: int, *, any_epoch: bool = False
    ) -> None:
        """Among these frames are some of unknown keys: keep them, and ask who that is."""
        for frame in frames:
            key = self._node.read_stranger(frame, any_epoch=any_epoch)
            if key is not None and self._strangers.keep(key, frame, now_ns):
                self._uplink.find_peer(key)
                self._node.await_stranger()

    def remember(self, heard: Sequence[int]) -> None:
        """Keep who we are and whom we hear, for a start while the ledger is away."""
        keys = {index: self._directory.key_of(index) for index in heard[:PEERS_MAX]}
        peers = {index: key for index, key in keys.items() if key is not None}
        if self.registration is None or (peers == self._peers and self._peers):
            return
        self._peers = peers
        rows = [[index, key.hex()] for index, key in sorted(peers.items())]
        self._note("peers", json.dumps([list(self.registration), rows]).encode())

    def recall(self, queue: DurableQueue, now_ns: int) -> None:
        """Take back what an earlier run kept."""
        if (known := queue.note("mix")) is not None:  # a restart needn't wait for the ledger
            epoch, mix = json.loads(known)
            self._node.receive_mix(epoch, bytes.fromhex(mix), now_ns)
        if (kept := queue.note("peers")) is not None:
            (index, bound_epoch), rows = json.loads(kept)
            self.registration = index, bound_epoch
            self._directory.update((peer, bytes.fromhex(key)) for peer, key in rows)
