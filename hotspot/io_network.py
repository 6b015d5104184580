"""Which network this is: asked of the ledger, remembered for a start while the ledger is away."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass

from chain.errors import EXIT_FAILED, UserError
from chain.io_client import LedgerClient
from chain.params import PRESETS, Params
from hotspot.io_queue import DurableQueue


@dataclass(frozen=True, slots=True)
class Network:
    """What a daemon must know of its network before it can start."""

    network_id: bytes
    start_ms: int
    preset: str
    epoch: int | None = None  # the ledger's, where it answered

    @property
    def params(self) -> Params:
        """Rules of the network's preset."""
        return PRESETS[self.preset]


def learn_network(client: LedgerClient, queue: DurableQueue) -> Network:
    """The network's genesis: from the ledger, or as last seen when the ledger is away."""
    try:
        head = client.head()
        network = Network(head.network_id, head.start_ms, head.preset, head.epoch)
        _refuse_other(queue, network.network_id)
        told = json.dumps([network.network_id.hex(), network.start_ms, network.preset]).encode()
        with contextlib.suppress(UserError):  # a full disk is told of later, and is no end
            queue.set_note("network", told)
        return network
    except OSError as error:
        kept = queue.note("network")
        if kept is None:
            raise UserError(
                "ledger.url",
                f"no answer ({error})",
                "check the internet connection, or mend ledger.url in the settings",
                exit_code=EXIT_FAILED,
            ) from error
        identifier, start_ms, preset = json.loads(kept)
        return Network(bytes.fromhex(identifier), start_ms, preset)


def _refuse_other(queue: DurableQueue, network_id: bytes) -> None:
    """Epochs of another network have other numbers: whoever mixes them up is silent for years."""
    kept = queue.note("network")
    known = json.loads(kept)[0] if kept else network_id.hex()
    if known != network_id.hex():
        problem = f"that ledger is of network {network_id.hex()[:16]}, {queue.path} of {known[:16]}"
        remedy = "mend the address; for another network make another folder: wavecomb hotspot init"
        raise UserError("ledger.url", problem, remedy, exit_code=EXIT_FAILED)


def learn_index(client: LedgerClient, queue: DurableQueue, key: bytes) -> int | None:
    """The ledger index of a key, as last seen when the ledger is away; None: not registered."""
    try:
        spot = client.hotspot(key)
        if spot is not None:
            queue.set_note("index", str(spot.index).encode())
        return None if spot is None else spot.index
    except OSError:
        kept = queue.note("index")
        return None if kept is None else int(kept)
