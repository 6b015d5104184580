"""hotspotd, the shell around `HotspotNode`: one selector loop, one uplink thread, no asyncio.

It turns radio frames and ledger events into the node's verbs, stores each batch of actions in the
durable queue in one transaction, and only then lets records leave. `Health` says how it is and what
to repair, `Timekeeper` whether the wall clock is believed: until it is, frames wait in a backlog
and no beacon leaves. A status file is rewritten every five seconds, and the page shows the same.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chain.errors import UserError
from chain.io_client import LedgerClient
from chain.io_keys import load_or_create_seed
from chain.io_terminal import write_json
from chain.keys import public_key
from chain.records import Registration
from chain.wire import seal
from hotspot.actions import Action, FetchMix, Log, SendFrame
from hotspot.clock import Backlog, Timekeeper
from hotspot.config import HotspotConfig, parse_address
from hotspot.directory import Directory
from hotspot.health import Health, Repair, State
from hotspot.io_network import learn_network
from hotspot.io_page import Page
from hotspot.io_queue import DURABLE, DurableQueue
from hotspot.io_radio import Radio, open_radio
from hotspot.io_system import (
    Supervisor,
    boot_id,
    boot_ns,
    hook_result,
    is_synchronised,
    look_at_clocks,
    start_hook,
)
from hotspot.io_uplink import (
    DirectoryKnown,
    Event,
    GatewayKnown,
    LedgerAway,
    LedgerBack,
    MixKnown,
    OwnerKnown,
    Submitted,
    Uplink,
)
from hotspot.io_wake import Waker
from hotspot.node import HotspotNode, Identity
from hotspot.readings import Readings
from hotspot.secrets import SecretChain
from hotspot.status import Snapshot, failure_json, status_json

STATUS_S = 5.0
LONGEST_WAIT_S = 0.5
HEARD_NS = 3_600 * 1_000_000_000  # a neighbour that was heard in the last hour can hear us too
STORE_AGAIN_S = 5.0
PEERS_MAX = 256  # neighbours that are known again after a start without the ledger


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
        self._status_path = base / config.hotspot.status_file
        self._health = Health(boot_ns())
        try:
            self._open(base)
        except UserError as error:
            self._tell_failure(error)
            raise

    def _open(self, base: Path) -> None:
        spot, health = self._config.hotspot, self._health
        health.enter(State.KEY, "reading the key files", boot_ns())
        self._seed = load_or_create_seed(base / spot.key_file)
        self._owner_seed = load_or_create_seed(base / spot.owner_key_file)
        health.enter(State.BOOT, "opening the queue and asking the ledger", boot_ns())
        self._queue = DurableQueue(base / spot.queue, spot.queue_limit_mib << 20)
        self._client = LedgerClient(self._config.ledger.url)
        self._network = learn_network(self._client, self._queue)
        health.enter(State.RADIO, "opening the radio", boot_ns())
        self._radio: Radio = open_radio(self._config.radio.kind, self._config.radio.interface)
        self._has_radio = True
        health.echoes = self._queue.note("echoes") is not None
        self._make_parts()

    def _make_parts(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._supervisor = Supervisor()
        self._directory = Directory()
        self._uplink = Uplink(LedgerClient(self._config.ledger.url), self._waker.ring)
        self._readings = Readings()
        self._backlog = Backlog()
        self._page: Page | None = None
        self._boot_id = boot_id()
        self._registration_id: bytes | None = None
        self._renewed: tuple[bytes, bytes] | None = None  # record id, the chain that it registers
        self._registration: tuple[int, int] | None = None  # index, epoch from which it binds
        self._peers: dict[int, bytes] = {}
        self._owner_known: tuple[OwnerKnown, int] | None = None
        self._relays = False
        self._unstored: list[tuple[bytes, int, Sequence[Action]]] = []
        self._store_at = 0.0
        self._hook: int | None = None
        self._moment_epoch = -1
        self._again = False
        self._last_frame_ns: int | None = None
        self._started_ns = time.time_ns()
        self._clock = self._make_clock()
        self._node = self._make_node()
        self._recall_peers()

    def _make_clock(self) -> Timekeeper:
        return Timekeeper(
            look_at_clocks(is_synchronised()),
            epoch_ms=self._network.params.epoch_ms,
            start_ms=self._network.start_ms,
            seen_ms=int(self._queue.note("seen_ms") or b"0"),
        )

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
        self._register_reader(self._radio, self._read_radio)
        self._register_reader(self._waker, self._read_events)
        self._uplink.submit(record.wire for record in self._queue.undelivered())
        gateway = self._config.hotspot.gateway
        address = parse_address("hotspot.gateway", gateway) if gateway else None
        self._uplink.watch(self._node.key, public_key(self._owner_seed), address)
        self._uplink.start()
        self._open_page()
        self._log("info", f"hotspot {self._node.key.hex()[:16]} on {self._radio.description}")
        self._supervisor.say("READY=1")
        status_at = 0.0
        while not self._waker.stopping:
            for key, _ in self._selector.select(self._wait_s()):
                key.data()
            self._turn()
            if time.monotonic() >= status_at:
                status_at = time.monotonic() + STATUS_S
                self._look_after()
        self._close()

    def _register_reader(self, source: Radio | Waker, read: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, read)

    def _turn(self) -> None:
        """What every pass of the loop does: the time first, then what is due."""
        jump_ns = self._clock.observe(look_at_clocks(self._clock.moment.is_synchronised))
        if jump_ns:
            self._health.note_jump(jump_ns, boot_ns())
            self._log("warning", f"CLOCK_JUMP: the clock was set by {jump_ns / 1e9:.1f} s")
        if not self._clock.doubt():
            if self._backlog and self._registration is not None:
                self._file_backlog()
            if jump_ns:
                self._node.handle_jump(time.time_ns())
            self._node.handle_deadline(time.time_ns())
        self._carry_out(self._node.take_actions())

    def _wait_s(self) -> float:
        due = self._node.next_deadline()
        if due is None or self._clock.doubt():
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0.0, (due - time.time_ns()) / 1e9))

    def _read_radio(self) -> None:
        frames = self._radio.receive()
        if not frames:
            return
        now_ns, at_ns = time.time_ns(), boot_ns()
        self._last_frame_ns = at_ns
        self._health.note_received(at_ns)
        doubted = bool(self._clock.doubt())
        heard, echoes = self._node.counts["heard"], self._node.counts["echo"]
        for frame in frames:
            if doubted:
                self._keep_for_later(frame, at_ns)
            else:
                self._node.receive_frame(frame, now_ns)
        if self._node.counts["heard"] != heard:
            for index, (at, rssi_dbm) in self._node.last_heard.items():
                if at == now_ns:
                    self._readings.note(index, rssi_dbm, at_ns)
        if self._node.counts["echo"] != echoes:
            self._note_echo(at_ns)

    def _keep_for_later(self, frame: bytes, at_ns: int) -> None:
        self._backlog.keep(frame, at_ns)
        told = self._node.read_epoch(frame)
        if told is not None:
            self._clock.note_neighbour(*told)

    def _note_echo(self, at_ns: int) -> None:
        if not self._health.echoes:
            self._queue.set_note("echoes", b"1")
        self._health.note_echo(at_ns)

    def _file_backlog(self) -> None:
        """Give what was heard without a clock the times that are known now."""
        kept = sum(
            self._node.receive_past(frame, self._clock.wall_at(at_ns))
            for at_ns, frame in self._backlog.take()
        )
        self._log("info", f"the clock is known: {kept} receptions from before it are kept")
        self._enter_network()

    def _read_events(self) -> None:
        self._waker.answer()
        for event in self._uplink.drain():
            self._take_event(event)

    def _take_event(self, event: Event) -> None:
        now_ns = boot_ns()
        if isinstance(event, MixKnown):
            self._node.receive_mix(event.epoch, event.mix, time.time_ns())
            self._note("mix", json.dumps([event.epoch, event.mix.hex()]).encode())
        elif isinstance(event, DirectoryKnown):
            self._directory.update((index, key) for index, key, _ in event.entries)
            self._register(event)
        elif isinstance(event, Submitted):
            self._settle(event)
        elif isinstance(event, OwnerKnown):
            self._owner_known = event, now_ns
            self._clock.note_ledger(event.epoch)
            self._judge_beacons(event, now_ns)
        elif isinstance(event, GatewayKnown):
            self._relays = event.answers
        elif isinstance(event, LedgerAway):
            self._health.note_ledger(event.problem, now_ns)
            self._log("warning", f"LEDGER_DOWN: {event.problem}; everything is kept in the queue")
        elif isinstance(event, LedgerBack):
            self._health.note_ledger(None, now_ns)

    def _settle(self, event: Submitted) -> None:
        try:
            self._queue.settle(event.results)
        except UserError as error:  # they will be sent once more after a restart: harmless
            self._health.note_disk(error.problem, boot_ns())
        for result in event.results:
            if self._renewed is not None and result.record_id == self._renewed[0]:
                self._finish_renewal(result.accepted)
            if result.accepted:
                continue
            self._log("warning", f"the ledger refused a record: {result.reason}: {result.detail}")
            if result.reason == "bad_reveal" and self._renewed is None:
                self._renew_chain()

    def _judge_beacons(self, known: OwnerKnown, now_ns: int) -> None:
        beacons = (known.why or {}).get("as_beaconer", {}).get("beacons", {})
        heard = sum(beacons.get(verdict, 0) for verdict in ("paid", "aired"))
        neighbours = self._readings.heard_since(now_ns - HEARD_NS)
        self._health.note_verdicts(heard, beacons.get("unheard", 0), neighbours, now_ns)

    # --- registration -------------------------------------------------------------------------

    def _register(self, known: DirectoryKnown) -> None:
        """Find this hotspot among those the ledger knows, or put it there."""
        if self._node.index >= 0:
            self._remember_peers()
            return
        for index, key, bound_epoch in known.entries:
            if key == self._node.key:
                self._registration = index, bound_epoch
                self._enter_network()
                return
        if self._registration_id is None and not self._clock.doubt():
            owner = public_key(self._owner_seed)
            record = assertion(self._config, self._node.key, owner, self._node.secrets)
            signed = seal(record, self._network.network_id, [self._seed, self._owner_seed])
            self._registration_id = signed.record_id
            self._uplink.submit([signed.wire])

    def _enter_network(self) -> None:
        """Begin to beacon and to listen, unless the time isn't known or it was done already."""
        if self._registration is None or self._node.index >= 0 or self._clock.doubt():
            return
        if self._backlog:
            self._file_backlog()
            return
        index, bound_epoch = self._registration
        self._node.receive_registration(index, bound_epoch, time.time_ns())
        self._log("info", f"registered as hotspot {index}, bound from epoch {bound_epoch}")
        self._remember_peers()

    def _renew_chain(self) -> None:
        """Register new secrets: after a long silence the ledger can't follow the old ones."""
        first = self._node.epoch + 1
        kept = json.dumps([first, self._config.hotspot.chain_length]).encode()
        chain = SecretChain(self._seed, first, self._config.hotspot.chain_length)
        owner = public_key(self._owner_seed)
        record = assertion(self._config, self._node.key, owner, chain)
        signed = seal(record, self._network.network_id, [self._seed, self._owner_seed])
        self._renewed = signed.record_id, kept
        self._log("warning", "the chain of secrets can't be followed any more; registering anew")
        self._uplink.submit([signed.wire])

    def _finish_renewal(self, accepted: bool) -> None:
        """With new secrets on the ledger, start anew with them."""
        if accepted and self._renewed is not None:
            self._note("chain", self._renewed[1])
            self._again = self._waker.stopping = True

    def _remember_peers(self) -> None:
        """Keep who we are and whom we hear, for a start while the ledger is away."""
        heard = self._readings.indexes()[:PEERS_MAX]
        keys = {index: self._directory.key_of(index) for index in heard}
        peers = {index: key for index, key in keys.items() if key is not None}
        if self._registration is None or (peers == self._peers and self._peers):
            return
        self._peers = peers
        rows = [[index, key.hex()] for index, key in sorted(peers.items())]
        self._note("peers", json.dumps([list(self._registration), rows]).encode())

    def _recall_peers(self) -> None:
        if (known := self._queue.note("mix")) is not None:  # a restart needn't wait for the ledger
            epoch, mix = json.loads(known)
            self._node.receive_mix(epoch, bytes.fromhex(mix), time.time_ns())
        kept = self._queue.note("peers")
        if kept is not None:
            (index, bound_epoch), rows = json.loads(kept)
            self._registration = index, bound_epoch
            self._directory.update((peer, bytes.fromhex(key)) for peer, key in rows)
            self._enter_network()

    def _note(self, name: str, value: bytes) -> None:
        try:
            self._queue.set_note(name, value)
        except UserError as error:
            self._health.note_disk(error.problem, boot_ns())

    # --- actions ------------------------------------------------------------------------------

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, SendFrame):
                self._send(action)
            elif isinstance(action, FetchMix):
                self._uplink.fetch_mix(action.epoch)
            elif isinstance(action, Log):
                self._log(action.level, action.text)
        if any(isinstance(action, DURABLE) for action in actions):
            self._unstored.append((self._node.key, self._node.epoch, actions))
        if self._unstored and time.monotonic() >= self._store_at:
            self._store()

    def _store(self) -> None:
        """Store what waits, in order, in one transaction; on a full disk it goes on waiting."""
        try:
            stored = self._queue.store(self._unstored)
        except UserError as error:
            self._store_at = time.monotonic() + STORE_AGAIN_S
            self._health.note_disk(error.problem, boot_ns())
            return
        self._unstored = []
        self._health.note_disk(None, boot_ns())
        self._uplink.submit(record.wire for record in stored)

    def _send(self, action: SendFrame) -> None:
        failed = self._radio.counts["send_failed"]
        if self._has_radio:
            self._radio.send(action.frame, action.power_step_db)
        if not self._has_radio or self._radio.counts["send_failed"] != failed:
            self._health.note_send_failed(boot_ns())
        else:
            self._health.note_sent(boot_ns())

    # --- looking after itself -----------------------------------------------------------------

    def _look_after(self) -> None:
        """Every five seconds: clocks, device, faults, repairs, status."""
        self._clock.observe(look_at_clocks(is_synchronised()))
        now_ns = boot_ns()
        if self._has_radio:
            self._health.note_device(self._radio.device_frames(), now_ns)
        self._health.handle_time(now_ns)
        self._enter_network()
        self._note_moment()
        for repair in self._health.take_repairs():
            if self._config.radio.kind == "monitor":
                self._repair(repair)
        if self._hook is not None and (code := hook_result(self._hook)) is not None:
            self._hook = None
            self._log("info", f"reset_hook ended with {code}")
            self._reopen_radio()
        if not self._has_radio:
            self._reopen_radio()
        self._write_status()  # which works out the state, too
        self._supervisor.say("WATCHDOG=1", f"STATUS={self._headline()}")

    def _enter_state(self, now_ns: int) -> None:
        doubt = self._clock.doubt()
        node, epoch = self._node, self._node.epoch
        if not self._has_radio:
            self._health.enter(State.RADIO, "the radio is away; it is tried again", now_ns)
        elif doubt:
            self._health.enter(State.CLOCK, doubt, now_ns)
        elif node.index < 0:
            self._health.enter(State.LISTEN, "the ledger has not registered us yet", now_ns)
        elif not node.is_active:
            reason = f"in epoch {epoch}; {node.reason_inactive}"
            self._health.enter(State.LISTEN, reason, now_ns)
        elif self._relays:
            self._health.enter(State.RELAY, f"beacons in epoch {epoch}; gateway answers", now_ns)
        else:
            self._health.enter(State.BEACON, f"beacons in epoch {epoch}", now_ns)

    def _note_moment(self) -> None:
        """Once per epoch: which boot this is and what both clocks said, beside what was heard."""
        if self._node.epoch == self._moment_epoch or self._clock.doubt():
            return
        self._moment_epoch = self._node.epoch
        moment = self._clock.moment
        try:
            self._queue.note_moment(self._node.epoch, self._boot_id, moment)
            self._queue.set_note("seen_ms", str(moment.wall_ns // 1_000_000).encode())
        except UserError as error:
            self._health.note_disk(error.problem, boot_ns())

    def _repair(self, repair: Repair) -> None:
        self._log("warning", f"repair: {repair}")
        if repair is Repair.REOPEN_RADIO:
            self._reopen_radio()
        elif repair is Repair.RESET_INTERFACE:
            hook = self._config.radio.reset_hook
            if hook and self._hook is None:
                self._hook = start_hook(hook, self._config.radio.interface)
        else:
            self._again = self._waker.stopping = True

    def _reopen_radio(self) -> None:
        """Open the radio once more; without one, go on and try again in five seconds."""
        if self._has_radio:
            self._selector.unregister(self._radio)
            self._radio.close()
        counts = self._radio.counts
        try:
            self._radio = open_radio(self._config.radio.kind, self._config.radio.interface)
        except UserError as error:
            if self._has_radio:
                self._log("warning", f"{error}")
            self._has_radio = False
            return
        self._has_radio = True
        self._radio.counts.update(counts)
        self._register_reader(self._radio, self._read_radio)

    # --- the owner's side ---------------------------------------------------------------------

    def _open_page(self) -> None:
        if not self._config.hotspot.page:
            return
        address = parse_address("hotspot.page", self._config.hotspot.page)
        try:
            self._page = Page(address, self._selector, self._status)
        except OSError as error:
            self._log("info", f"no status page on {self._config.hotspot.page}: {error.strerror}")
            return
        self._log("info", f"status page on http://{address[0]}:{self._page.port}/")

    def _headline(self) -> str:
        standing, troubles = self._health.standing, self._health.troubles()
        names = " ".join(trouble.fault.value for trouble in troubles)
        return f"{standing.state}: {standing.reason}" + (f"; faults: {names}" if names else "")

    def _status(self) -> dict[str, object]:
        self._enter_state(boot_ns())
        return status_json(
            Snapshot(
                wall_ns=time.time_ns(),
                boot_ns=boot_ns(),
                boot_id=self._boot_id,
                started_ns=self._started_ns,
                pid=os.getpid(),
                node=self._node,
                owner=public_key(self._owner_seed),
                radio=self._radio.description,
                radio_counts=dict(self._radio.counts),
                radio_dropped=self._radio.dropped() if self._has_radio else 0,
                last_frame_ns=self._last_frame_ns,
                health=self._health,
                clock=self._clock,
                backlog=len(self._backlog),
                backlog_dropped=self._backlog.dropped,
                queue=self._queue.counts(),
                readings=self._readings,
                ledger=self._owner_known,
                ledger_url=self._config.ledger.url,
            )
        )

    def _write_status(self) -> None:
        try:
            write_json(self._status_path, self._status())
            if not self._unstored:
                self._health.note_disk(None, boot_ns())
        except OSError as error:
            self._health.note_disk(f"{self._status_path}: {error.strerror}", boot_ns())
        except UserError as error:
            self._health.note_disk(error.problem, boot_ns())

    def _tell_failure(self, error: UserError) -> None:
        """Leave word in the status file of how far the start came, where one can be written."""
        try:
            write_json(
                self._status_path,
                failure_json(time.time_ns(), self._health.standing, f"{error}", os.getpid()),
            )
        except OSError:
            return

    def _log(self, level: str, text: str) -> None:
        if level != "debug":
            sys.stderr.write(f"{level}: {text}\n")
            sys.stderr.flush()

    def _close(self) -> None:
        self._supervisor.say("STOPPING=1")
        self._uplink.stop()
        self._read_events()
        if self._unstored:
            self._store()
        self._write_status()
        if self._page is not None:
            self._page.close()
        if self._has_radio:
            self._radio.close()
        self._queue.close()
        self._supervisor.close()
        if self._again:
            self._log("warning", "starting anew")
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
