"""hotspotd, the shell around `HotspotNode`: one selector loop, one uplink thread, no asyncio.

It turns radio frames and ledger events into the node's verbs, stores each batch of actions in the
durable queue in one transaction, and only then lets records leave. It rewrites a status file
every five seconds.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chain.io_client import LedgerClient
from chain.io_keys import load_or_create_seed
from chain.io_terminal import write_json
from chain.keys import public_key
from chain.records import Registration
from chain.wire import seal
from hotspot.actions import Action, FetchMix, Log, SendFrame
from hotspot.config import HotspotConfig
from hotspot.directory import Directory
from hotspot.io_network import learn_network
from hotspot.io_queue import DurableQueue
from hotspot.io_radio import Radio, open_radio
from hotspot.io_uplink import DirectoryKnown, LedgerAway, LedgerBack, MixKnown, Submitted, Uplink
from hotspot.io_wake import Waker
from hotspot.node import HotspotNode, Identity
from hotspot.secrets import SecretChain

STATUS_S = 5.0
LONGEST_WAIT_S = 0.5


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


class Daemon:
    """A running hotspot."""

    def __init__(self, config: HotspotConfig, base: Path) -> None:
        self._config = config
        spot = config.hotspot
        self._seed = load_or_create_seed(base / spot.key_file)
        self._owner_seed = load_or_create_seed(base / spot.owner_key_file)
        self._queue = DurableQueue(base / spot.queue)
        self._status_path = base / spot.status_file
        self._client = LedgerClient(config.ledger.url)
        self._network = learn_network(self._client, self._queue)
        self._radio: Radio = open_radio(config.radio.kind, config.radio.interface)
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._directory = Directory()
        self._uplink = Uplink(LedgerClient(config.ledger.url), self._waker.ring)
        self._registration_id: bytes | None = None
        self._faults: dict[str, str] = {}
        self._last_frame_ns: int | None = None
        self._started_ns = time.time_ns()
        self._node = self._make_node()

    def _make_node(self) -> HotspotNode:
        kept = self._queue.note("chain")
        if kept is None:
            params = self._network.params
            epoch = params.epoch_at(self._network.start_ms, time.time_ns() // 1_000_000)
            kept = json.dumps([epoch + 1, self._config.hotspot.chain_length]).encode()
            self._queue.set_note("chain", kept)
        first_epoch, length = json.loads(kept)
        identity = Identity(
            seed=self._seed,
            network_id=self._network.network_id,
            start_ms=self._network.start_ms,
            params=self._network.params,
            cell=int(self._config.hotspot.cell, 16),
            frequency_mhz=self._config.radio.frequency_mhz,
            can_set_power=self._config.radio.can_set_power,
        )
        memory = self._queue.memory(public_key(self._seed))
        return HotspotNode(
            identity, SecretChain(self._seed, first_epoch, length), self._directory, memory=memory
        )

    # --- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then store, close and return."""
        self._waker.stop_on_signals()
        self._selector.register(self._radio, selectors.EVENT_READ, "radio")
        self._selector.register(self._waker, selectors.EVENT_READ, "wake")
        self._uplink.submit(record.wire for record in self._queue.undelivered())
        self._uplink.start()
        self._log("info", f"hotspot {self._node.key.hex()[:16]} on {self._radio.description}")
        status_at = 0.0
        while not self._waker.stopping:
            for key, _ in self._selector.select(self._wait_s()):
                self._read(str(key.data))
            self._node.handle_deadline(time.time_ns())
            self._carry_out(self._node.take_actions())
            if time.monotonic() >= status_at:
                status_at = time.monotonic() + STATUS_S
                self._write_status()
        self._close()

    def _wait_s(self) -> float:
        due = self._node.next_deadline()
        if due is None:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0.0, (due - time.time_ns()) / 1e9))

    def _read(self, source: str) -> None:
        if source == "wake":
            self._waker.answer()
            self._take_events()
            return
        now_ns = time.time_ns()
        for frame in self._radio.receive():
            self._last_frame_ns = now_ns
            self._node.receive_frame(frame, now_ns)

    def _take_events(self) -> None:
        for event in self._uplink.drain():
            now_ns = time.time_ns()
            if isinstance(event, MixKnown):
                self._node.receive_mix(event.epoch, event.mix, now_ns)
            elif isinstance(event, DirectoryKnown):
                self._directory.update((index, key) for index, key, _ in event.entries)
                self._register(event)
            elif isinstance(event, Submitted):
                self._queue.settle(event.results)
                for result in event.results:
                    if not result.accepted:
                        self._log(
                            "warning",
                            f"the ledger refused a record: {result.reason}: {result.detail}",
                        )
            elif isinstance(event, LedgerAway):
                self._faults["LEDGER_DOWN"] = f"{event.problem}; everything is kept in the queue"
                self._log("warning", self._faults["LEDGER_DOWN"])
            elif isinstance(event, LedgerBack):
                self._faults.pop("LEDGER_DOWN", None)

    def _register(self, known: DirectoryKnown) -> None:
        """Find this hotspot among those the ledger knows, or put it there."""
        if self._node.index >= 0:
            return
        for index, key, bound_epoch in known.entries:
            if key == self._node.key:
                self._node.receive_registration(index, bound_epoch, time.time_ns())
                self._log("info", f"registered as hotspot {index}, bound from epoch {bound_epoch}")
                return
        if self._registration_id is None:
            owner = public_key(self._owner_seed)
            record = assertion(self._config, self._node.key, owner, self._node.secrets)
            signed = seal(record, self._network.network_id, [self._seed, self._owner_seed])
            self._registration_id = signed.record_id
            self._uplink.submit([signed.wire])

    def _carry_out(self, actions: Sequence[Action]) -> None:
        if not actions:
            return
        stored = self._queue.store([(self._node.key, self._node.epoch, actions)])
        self._uplink.submit(record.wire for record in stored)
        for action in actions:
            if isinstance(action, SendFrame):
                self._radio.send(action.frame, action.power_step_db)
            elif isinstance(action, FetchMix):
                self._uplink.fetch_mix(action.epoch)
            elif isinstance(action, Log):
                self._log(action.level, action.text)

    # --- the owner's side ---------------------------------------------------------------------

    def _write_status(self) -> None:
        now_ns = time.time_ns()
        heard = {
            str(index): {"age_s": (now_ns - at) // 1_000_000_000, "rssi_dbm": rssi}
            for index, (at, rssi) in sorted(self._node.last_heard.items())
        }
        status = {
            "at_ms": now_ns // 1_000_000,
            "started_ms": self._started_ns // 1_000_000,
            "pid": os.getpid(),
            "key": self._node.key.hex(),
            "index": self._node.index,
            "epoch": self._node.epoch,
            "radio": self._radio.description,
            "last_frame_age_s": None
            if self._last_frame_ns is None
            else (now_ns - self._last_frame_ns) // 1_000_000_000,
            "counts": dict(sorted(self._node.counts.items())),
            "queue": asdict(self._queue.counts()),
            "faults": self._faults,
            "heard": heard,
        }
        try:
            write_json(self._status_path, status)
        except OSError as error:
            self._log("warning", f"status_file: {error}")

    def _log(self, level: str, text: str) -> None:
        if level != "debug":
            sys.stderr.write(f"{level}: {text}\n")
            sys.stderr.flush()

    def _close(self) -> None:
        self._uplink.stop()
        self._take_events()
        self._write_status()
        self._radio.close()
        self._queue.close()
