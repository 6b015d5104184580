"""hotspotd, the shell around `HotspotNode`: one selector loop, one uplink thread, no asyncio.

It turns radio frames and ledger events into the node's verbs, stores each batch of actions in the
durable queue in one transaction, and only then lets records leave. `Health` says how it is and what
to repair, `Timekeeper` whether the wall clock is believed: until it is, frames wait in a backlog
and no beacon leaves. A status file is rewritten every five seconds, and the page shows the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from chain.errors import UserError
from chain.io_keys import load_or_create_seed, load_seed
from chain.io_terminal import write_json
from chain.keys import public_key
from hotspot.actions import Action, FetchMix, Log, SendFrame
from hotspot.clock import Backlog
from hotspot.config import HotspotConfig, parse_address
from hotspot.directory import Directory
from hotspot.health import Health, Repair, State
from hotspot.io_knock import GatewayKnown
from hotspot.io_machine import Machine
from hotspot.io_membership import Membership, Owned
from hotspot.io_network import learn_network
from hotspot.io_page import Page, open_page
from hotspot.io_queue import DURABLE
from hotspot.io_rotation import OBJECTED, KeyChange, finish_move, own_chain, take_queue
from hotspot.io_system import Supervisor
from hotspot.io_times import Times
from hotspot.io_uplink import (
    Event,
    LedgerAway,
    LedgerBack,
    MixKnown,
    OwnerKnown,
    PeerKnown,
    RecordKnown,
    Submitted,
)
from hotspot.io_voice import Voice
from hotspot.node import HotspotNode, Identity
from hotspot.radio.codec import need_codec
from hotspot.radio.io_radio import NoRadio, Radio
from hotspot.readings import Readings
from hotspot.status import Snapshot, failure_json, status_json

SECOND = 1_000_000_000
STATUS_NS = 5 * SECOND
LONGEST_WAIT_NS = SECOND // 2
HEARD_NS = 3_600 * 1_000_000_000  # a neighbour that was heard in the last hour can hear us too
STORE_AGAIN_NS = 5 * SECOND
# After a look at the radio it is left alone for this long, and what came meanwhile is read at once:
# a wake costs as much as a beacon's signature. A busy radio isn't left alone, and nothing is due
# before all that was heard has been read.
REST_NS = SECOND // 5
BUSY_FRAMES = 8


class Daemon:
    """A running hotspot."""

    def __init__(
        self, config: HotspotConfig, base: Path, machine: Machine | None = None
    ) -> None:
        self._config = config
        self._machine = machine or Machine()
        self._wall_ns, self._boot_ns = self._machine.wall_ns, self._machine.boot_ns
        self._status_path = base / config.hotspot.status_file
        self._health = Health(self._boot_ns())
        try:
            self._open(base)
        except UserError as error:
            if error.field != "daemon":  # the status file is that of the one that runs
                self._tell_failure(error)
            raise

    def _open(self, base: Path) -> None:
        spot, health = self._config.hotspot, self._health
        health.enter(State.KEY, "reading the key files", self._boot_ns())
        self._key_path = base / spot.key_file
        self._seed = load_or_create_seed(self._key_path)
        self._machine.hold(self._key_path)
        owner_seed = load_or_create_seed(base / spot.owner_key_file)
        health.enter(State.BOOT, "opening the queue and asking the ledger", self._boot_ns())
        path, limit_bytes = base / spot.queue, spot.queue_limit_mib << 20
        self._queue = self._machine.open_queue(path, limit_bytes)
        if finish_move(self._queue, self._key_path):
            self._seed = load_seed(self._key_path)
            self._machine.hold(self._key_path)
        self._keys = KeyChange(self._queue, self._key_path)
        key = public_key(self._seed)
        if take_queue(self._queue, key):
            self._log("warning", "the queue was of another key: place and secrets are asked anew")
        client = self._machine.connect(self._config.ledger.url)
        self._network = learn_network(client, self._queue)
        self._voice = Voice(self._queue, self._key_path, self._network, key)
        self._voice.meet(client, self._network)
        health.enter(State.RADIO, "opening the radio", self._boot_ns())
        self._radio, self._has_radio = self._open_radio()
        health.echoes = self._queue.note("echoes") == self._radio_name
        self._owned = Owned(self._seed, owner_seed, self._config, self._network.network_id)
        self._make_parts()

    def _open_radio(self) -> tuple[Radio, bool]:
        """The radio; one that was there before is waited for and repaired, not died for."""
        try:
            radio = self._machine.open_radio(self._config)
        except UserError as error:
            if self._queue.note("radio") != self._radio_name:
                raise
            self._log("warning", f"{error}")
            return NoRadio(self._config.radio.interface), False
        if self._queue.note("radio") != self._radio_name:
            with contextlib.suppress(UserError):  # a full disk is told of later, and is no end
                self._queue.set_note("radio", self._radio_name)
        return radio, True

    def _make_parts(self) -> None:
        self._loop = self._machine.make_loop()
        self._waker = self._machine.make_waker()
        self._supervisor = Supervisor()
        self._directory = Directory()
        self._uplink = self._machine.make_uplink(self._config.ledger.url, self._waker.ring)
        self._readings = Readings()
        self._backlog = Backlog()
        self._page: Page | None = None
        self._owner_known: tuple[OwnerKnown, int] | None = None
        self._gateway_known: tuple[GatewayKnown, int] | None = None
        self._unstored: list[tuple[bytes, int, Sequence[Action]]] = []
        self._store_ns = 0
        self._last_sent: SendFrame | None = None
        self._disk: dict[str, str] = {}  # what can't be written, and why
        self._rest_ns: int | None = None  # the radio is left alone until then
        self._hook: int | None = None
        self._again = False
        self._last_frame_ns: int | None = None
        self._started_ns = self._wall_ns()
        self._times = Times(self._queue, self._machine, self._network)
        self._clock = self._times.clock
        self._node = self._make_node()
        self._member = Membership(
            self._owned, self._node, self._directory, self._uplink, self._note
        )
        self._member.recall(self._queue, self._wall_ns())
        self._enter_network()

    def _make_node(self) -> HotspotNode:
        length, files = self._config.hotspot.chain_length, (self._queue, self._key_path)
        secrets = own_chain(*files, self._seed, self._network, length, self._wall_ns())
        identity = Identity(
            seed=self._seed,
            network_id=self._network.network_id,
            start_ms=self._network.start_ms,
            params=self._network.params,
            cell=int(self._config.hotspot.cell, 16),
            frequency_mhz=self._config.radio.frequency_mhz,
            can_set_power=self._config.radio.can_set_power,
        )
        memory = self._voice.remember(secrets, identity.cell)
        codec = need_codec(self._config.radio.codec)
        return HotspotNode(identity, secrets, self._directory, memory=memory, codec=codec)

    # --- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then store, close and return."""
        self._waker.stop_on_signals()
        if self._has_radio:
            self._loop.register(self._radio, self._read_radio, once=True)
        self._loop.register(self._waker, self._read_events)
        self._member.ask()
        self._deliver()
        gateway = self._config.hotspot.gateway
        address = parse_address("hotspot.gateway", gateway) if gateway else None
        self._uplink.watch(self._node.key, self._owned.owner, address)
        self._uplink.start()
        self._page = open_page(self._config.hotspot.page, self._loop, self._status, self._log)
        self._log("info", f"hotspot {self._node.key.hex()[:16]} on {self._radio.description}")
        self._supervisor.say("READY=1")
        status_ns = 0
        while not self._waker.stopping:
            self._loop.wait(self._wait_s())
            self._turn()
            if self._boot_ns() >= status_ns:
                status_ns = self._boot_ns() + STATUS_NS
                self._look_after()
        self._close()

    def _turn(self) -> None:
        """What every pass of the loop does: the time first, then what is due."""
        before = self._clock.moment
        jump_ns = self._clock.observe(self._machine.look_at_clocks(before.is_synchronised))
        if jump_ns:  # setting the clock ends its synchronisation: ask before it is believed
            self._look_at_clocks()
            self._health.note_jump(jump_ns, self._boot_ns())
            self._log("warning", f"CLOCK_JUMP: the clock was set by {jump_ns / 1e9:.1f} s")
        self._end_rest()
        if not self._clock.doubt():
            if self._backlog and self._member.registration is not None:
                self._file_backlog()
            if jump_ns:
                self._node.handle_jump(self._wall_ns())
            self._node.handle_deadline(self._wall_ns())
            if self._keys.is_due(self._node.epoch):
                self._change_key()
            if self._last_sent is not None and self._health.is_probe_due(self._boot_ns()):
                self._send(self._last_sent)
        self._carry_out(self._node.take_actions())

    def _change_key(self) -> None:
        """Store what the old key had to say, and begin anew with the new one."""
        actions = self._node.take_actions()
        self._carry_out([action for action in actions if not isinstance(action, SendFrame)])
        if not self._unstored:
            self._keys.carry_out()
            self._log("warning", "the new key speaks from now on")
            self._again = self._waker.stopping = True

    def _look_at_clocks(self) -> None:
        self._clock.observe(self._machine.look_at_clocks(self._machine.is_synchronised()))

    def _wait_s(self) -> float:
        wait_ns = LONGEST_WAIT_NS
        if self._rest_ns is not None:
            wait_ns = min(wait_ns, self._rest_ns - self._boot_ns())
        due = self._node.next_deadline()
        if due is not None and not self._clock.doubt():
            wait_ns = min(wait_ns, due - self._wall_ns())
        return max(0, wait_ns) / 1e9

    def _read_radio(self) -> None:
        """Read what the radio has; then leave it alone for a while, unless it is busy."""
        frames = self._radio.receive()
        if frames:
            self._take_frames(frames)
        if 0 < len(frames) < BUSY_FRAMES:
            self._rest_ns = self._boot_ns() + REST_NS
        else:
            self._rest_ns = None
            self._loop.resume(self._radio)

    def _end_rest(self) -> None:
        """Look at the radio again, at the latest before anything that is due."""
        if self._rest_ns is None or not self._has_radio:
            return
        due = self._node.next_deadline()
        is_due = due is not None and due <= self._wall_ns()
        if is_due or self._boot_ns() >= self._rest_ns:
            self._read_radio()

    def _take_frames(self, frames: Sequence[bytes]) -> None:
        now_ns, at_ns = self._wall_ns(), self._boot_ns()
        self._last_frame_ns = at_ns
        counts = self._node.counts
        unknown, echoes = counts["unknown_key"], counts["echo"]
        if self._clock.doubt():
            for frame in frames:
                self._keep_for_later(frame, at_ns)
            self._health.note_received(at_ns)
            self._member.hear_strangers(frames, now_ns, any_epoch=True)
            return
        for frame in frames:
            heard = self._node.receive_frame(frame, now_ns)
            if heard is not None:
                self._readings.note(*heard, at_ns)
        if counts["unknown_key"] != unknown:
            self._member.hear_strangers(frames, now_ns)
        echoes = counts["echo"] - echoes
        if echoes:
            self._note_echo(at_ns)
        if echoes < len(frames):  # what comes back of ours says nothing of what others send
            self._health.note_received(at_ns)

    def _keep_for_later(self, frame: bytes, at_ns: int) -> None:
        self._backlog.keep(frame, at_ns)
        told = self._node.read_epoch(frame)
        if told is not None:
            self._clock.note_neighbour(*told)

    def _note_echo(self, at_ns: int) -> None:
        if not self._health.echoes:
            self._queue.set_note("echoes", self._radio_name)
        self._health.note_echo(at_ns)

    @property
    def _radio_name(self) -> bytes:
        """Another radio may give no echoes where this one does."""
        return f"{self._config.radio.kind}:{self._config.radio.interface}".encode()

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
        now_ns = self._boot_ns()
        if isinstance(event, MixKnown):
            self._node.receive_mix(event.epoch, event.mix, self._wall_ns())
            self._note("mix", json.dumps([event.epoch, event.mix.hex()]).encode())
        elif isinstance(event, PeerKnown):
            self._member.take(event, self._wall_ns(), may_register=not self._clock.doubt())
            self._enter_network()
        elif isinstance(event, Submitted):
            self._settle(event)
        elif isinstance(event, OwnerKnown):
            self._owner_known = event, now_ns
            self._clock.note_ledger(event.epoch)
            self._judge_beacons(event, now_ns)
            self._voice.hear_owner(event, self._uplink.find_record)
            self._deliver()
            objection = self._keys.hear(event.rotation, self._node, self._network.network_id)
            if objection:
                self._log("warning", OBJECTED)
                self._uplink.submit([objection])
        elif isinstance(event, RecordKnown):
            self._voice.know(event.record_id, event.is_known)
            self._deliver()
        elif isinstance(event, GatewayKnown):
            self._gateway_known = event, now_ns
        elif isinstance(event, LedgerAway):
            self._health.note_ledger(event.problem, now_ns)
            self._log("warning", f"LEDGER_DOWN: {event.problem}; everything is kept in the queue")
        elif isinstance(event, LedgerBack):
            self._health.note_ledger(None, now_ns)

    def _settle(self, event: Submitted) -> None:
        try:
            self._queue.settle(event.results)
        except UserError as error:  # they will be sent once more after a restart: harmless
            self._note_disk("queue", error.problem)
        for result in event.results:
            if self._member.settle(result):
                self._again = self._waker.stopping = True
            if result.accepted:
                continue
            self._log("warning", f"the ledger refused a record: {result.reason}: {result.detail}")
            if result.reason == "fork":
                self._voice.note_fork()
                self._deliver()
            if result.reason == "bad_reveal" and self._member.renew():
                told = "the chain of secrets can't be followed any more; registering anew"
                self._log("warning", told)

    def _judge_beacons(self, known: OwnerKnown, now_ns: int) -> None:
        neighbours = self._readings.heard_since(now_ns - HEARD_NS)
        self._health.note_explained((known.why or {}).get("as_beaconer", {}), neighbours, now_ns)

    def _enter_network(self) -> None:
        """Begin to beacon and to listen, unless the time isn't known or it was done already."""
        registration = self._member.registration
        if registration is None or self._node.index >= 0 or self._clock.doubt():
            return
        if self._voice.hold is not None:
            return
        if self._backlog:
            self._file_backlog()
            return
        index, bound_epoch = registration
        self._node.receive_registration(index, bound_epoch, self._wall_ns())
        self._log("info", f"registered as hotspot {index}, bound from epoch {bound_epoch}")
        self._member.remember(self._readings.indexes())

    def _note(self, name: str, value: bytes) -> None:
        try:
            self._queue.set_note(name, value)
        except UserError as error:
            self._note_disk("queue", error.problem)
        else:
            if not self._unstored:
                self._note_disk("queue", None)

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
        if self._unstored and self._boot_ns() >= self._store_ns:
            self._store()

    def _store(self) -> None:
        """Store what waits, in order, in one transaction; on a full disk it goes on waiting."""
        try:
            stored = self._queue.store(self._unstored)
        except UserError as error:
            self._store_ns = self._boot_ns() + STORE_AGAIN_NS
            self._note_disk("queue", error.problem)
            return
        signed = [action for _, _, actions in self._unstored for action in actions]
        self._unstored = []
        self._note_disk("queue", None)
        self._voice.note_signed(signed)
        if self._voice.is_open:
            self._uplink.submit(record.wire for record in stored)

    def _deliver(self) -> None:
        """All that waits may leave, once it is known that nobody else speaks with our key."""
        if self._voice.is_over:
            self._log("warning", self._voice.told)
            self._again = self._waker.stopping = True
        elif self._voice.may_begin():
            self._uplink.submit(record.wire for record in self._queue.undelivered())

    def _send(self, action: SendFrame) -> None:
        self._last_sent = action
        self._voice.note_beacon(self._node.epoch)
        failed = self._radio.counts["send_failed"]
        if self._has_radio:
            self._radio.send(action.frame, action.power_step_db)
        if not self._has_radio or self._radio.counts["send_failed"] != failed:
            self._health.note_send_failed(self._boot_ns())
        else:
            self._health.note_sent(self._boot_ns())

    # --- looking after itself -----------------------------------------------------------------

    def _look_after(self) -> None:
        """Every five seconds: clocks, device, faults, repairs, status."""
        self._look_at_clocks()
        now_ns = self._boot_ns()
        if self._has_radio:
            echoes = self._node.counts["echo"]
            self._health.note_device(self._radio.device_frames(), now_ns, echoes)
        self._health.handle_time(now_ns)
        self._health.note_copies(*self._voice.troubles(), now_ns)
        self._member.ask()
        self._enter_network()
        self._member.remember(self._readings.indexes())
        problem = self._times.keep(self._node.epoch, now_ns, self._note)
        if problem is not None:
            self._note_disk("queue", problem)
        self._keys.look()
        for repair in self._health.take_repairs():
            if self._config.radio.kind != "replay":  # a recording can't be mended
                self._repair(repair)
        if self._hook is not None and (code := self._machine.hook_result(self._hook)) is not None:
            self._hook = None
            self._log("info", f"reset_hook ended with {code}")
            self._reopen_radio()
        if not self._has_radio:
            self._reopen_radio()
        if self._queue.is_damaged:  # it is mended at the start
            self._log("warning", f"{self._queue.path} is damaged")
            self._again = self._waker.stopping = True
        self._write_status()  # which works out the state, too
        self._supervisor.say("WATCHDOG=1", f"STATUS={self._headline()}")

    def _enter_state(self, now_ns: int) -> None:
        doubt = self._clock.doubt()
        node, epoch = self._node, self._node.epoch
        if not self._has_radio:
            told = f"; and {doubt}" if doubt else ""
            self._health.enter(State.RADIO, f"the radio is away; it is tried again{told}", now_ns)
        elif doubt:
            self._health.enter(State.CLOCK, doubt, now_ns)
        elif self._voice.hold is not None:
            self._health.enter(State.LISTEN, self._voice.hold.detail, now_ns)
        elif node.index < 0:
            told = self._member.refusal or "the ledger has not registered us yet"
            self._health.enter(State.LISTEN, told, now_ns)
        elif not node.is_active:
            reason = f"in epoch {epoch}; {node.reason_inactive}"
            self._health.enter(State.LISTEN, reason, now_ns)
        elif self._gateway_known is not None and self._gateway_known[0].answers:
            self._health.enter(State.RELAY, f"beacons in epoch {epoch}; gateway answers", now_ns)
        else:
            self._health.enter(State.BEACON, f"beacons in epoch {epoch}", now_ns)

    def _repair(self, repair: Repair) -> None:
        self._log("warning", f"repair: {repair}")
        if repair is Repair.REOPEN_RADIO:
            self._reopen_radio()
        elif repair is Repair.RESET_INTERFACE:
            hook = self._config.radio.reset_hook
            if hook and self._hook is None:
                self._hook = self._machine.start_hook(hook, self._config.radio.interface)
        else:
            self._again = self._waker.stopping = True

    def _reopen_radio(self) -> None:
        """Open the radio once more; without one, go on and try again in five seconds."""
        if self._has_radio:
            self._loop.unregister(self._radio)
            self._radio.close()
        counts = self._radio.counts
        try:
            self._radio = self._machine.open_radio(self._config)
        except UserError as error:
            if self._has_radio:
                self._log("warning", f"{error}")
            self._has_radio = False
            return
        self._has_radio = True
        self._radio.counts.update(counts)
        self._rest_ns = None
        self._loop.register(self._radio, self._read_radio, once=True)

    # --- the owner's side ---------------------------------------------------------------------

    def _headline(self) -> str:
        standing = self._health.standing
        names = " ".join(trouble.fault.value for trouble in self._health.troubles())
        return f"{standing.state}: {standing.reason}" + (f"; faults: {names}" if names else "")

    def _status(self) -> dict[str, object]:
        self._enter_state(self._boot_ns())
        return status_json(
            Snapshot(
                wall_ns=self._wall_ns(),
                boot_ns=self._boot_ns(),
                boot_id=self._times.boot_id,
                started_ns=self._started_ns,
                pid=os.getpid(),
                node=self._node,
                index=self._member.index,
                owner=self._owned.owner,
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
                gateway=self._gateway_known,
            )
        )

    def _write_status(self) -> None:
        is_over = self._waker.stopping and not self._again
        try:
            ended = {"ended": "it was told to stop"} if is_over else {}
            write_json(self._status_path, self._status() | ended)
            self._note_disk("status", None)
        except OSError as error:
            self._note_disk("status", f"{self._status_path}: {error.strerror}")
        except UserError as error:
            self._note_disk("queue", error.problem)

    def _note_disk(self, place: str, problem: str | None) -> None:
        """The queue or the status file could be written, or not; either is a fault until it can."""
        if problem is None:
            self._disk.pop(place, None)
        else:
            self._disk[place] = problem
        self._health.note_disk(next(iter(self._disk.values()), None), self._boot_ns())

    def _tell_failure(self, error: UserError) -> None:
        """Leave word in the status file of how far the start came, where one can be written."""
        told = failure_json(self._wall_ns(), self._health.standing, f"{error}", os.getpid())
        with contextlib.suppress(OSError):
            write_json(self._status_path, told)

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
            self._machine.begin_anew()
