"""A machine whose clocks a program turns: the shipping daemon lives weeks on it in minutes.

`VirtualMachine` takes the place of `hotspot.io_machine.Machine`. Waiting moves its boot clock to
the next thing that happens; neighbours beacon, the ledger answers after a moment, and faults are
switches: the radio may go deaf or mute or away, the ledger or the disk may fail, the wall clock may
be set. Storage is real: the daemon's own SQLite queue in a folder.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chain.beacon_payload import parse_beacon_payload
from chain.draws import digest, slot_ms, u32
from chain.errors import UserError
from chain.keys import public_key, sign
from chain.params import PRESETS
from chain.records import (
    RECEPTION_BYTES,
    EpochMessage,
    Refusal,
    Registration,
    Signed,
    SubmitResult,
)
from chain.wire import decode, record_id_of
from hotspot.actions import Action, KeepReceptions
from hotspot.config import HotspotConfig, HotspotSection, LedgerSection, RadioSection
from hotspot.io_machine import Machine
from hotspot.io_queue import DurableQueue, Outgoing
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
from hotspot.node import mac_of
from hotspot.radio.frame import SIGNED_BYTES, Beacon, build_frame, pack_beacon, parse_frame

INTERFACE = "mon0"
MS, SECOND = 1_000_000, 1_000_000_000
NETWORK = digest("virtual-network")
CELL = 0x891E35A3393FFFF
START_MS = 1_700_000_000_000
ANSWER_NS = 40 * MS  # the ledger's usual time
ASK_AGAIN_NS = 60 * SECOND
REFRESH_NS = 5 * SECOND
TX_RADIOTAP_BYTES = 12
RADIOTAP = bytes.fromhex("00000f002a00000000008509a000c4")  # flags, channel, signal -60 dBm
FOREIGN_NS = 20 * SECOND  # the device hears an access point now and then


@dataclass
class Switches:
    """What works just now."""

    hears: bool = True
    speaks: bool = True
    has_device: bool = True
    device: str = INTERFACE  # the name under which it is there
    ledger: bool = True
    disk: bool = True
    synchronised: bool = True


@dataclass
class World:
    """Time, the neighbours, the ledger and the switches: what survives the daemon's process."""

    seed: int
    preset: str = "mainnet"
    neighbours: int = 6
    switches: Switches = field(default_factory=Switches)
    boot_ns: int = 400 * SECOND
    wall_offset_ns: int = START_MS * MS + 2_000 * SECOND
    true_offset_ns: int = START_MS * MS + 2_000 * SECOND
    boots: int = 1
    on_air: int = 0
    hooks: int = 0
    records: set[bytes] = field(default_factory=set)  # ids of what the ledger has
    registered: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # first epoch, length
    messages: Counter[int] = field(default_factory=Counter)  # by epoch
    # What beacons of the hotspot said that can be said in one way only, by (epoch, sequence).
    said: dict[tuple[int, int], set[bytes]] = field(default_factory=dict)
    kept: set[tuple[int, bytes]] = field(default_factory=set)  # receptions on disk: (epoch, entry)
    reported: set[tuple[int, bytes]] = field(default_factory=set)
    device_frames: int = 0
    _events: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        """Let the neighbours begin."""
        self.params = PRESETS[self.preset]
        self.seeds = [digest("virtual-peer", u32(n)) for n in range(self.neighbours)]
        self.radio: VirtualRadio | None = None
        self._plan_epoch(self.true_epoch())
        self.at(self.boot_ns + FOREIGN_NS, self._foreign)

    # --- time

    def true_ns(self) -> int:
        """What a good wall clock shows."""
        return self.boot_ns + self.true_offset_ns

    def true_epoch(self) -> int:
        """The network's epoch."""
        return self.params.epoch_at(START_MS, self.true_ns() // MS)

    def at(self, boot_ns: int, event: Callable[[], None]) -> None:
        """Let something happen at a time of the boot clock."""
        self._count += 1
        heapq.heappush(self._events, (boot_ns, self._count, event))

    def advance(self, until_ns: int, is_ready: Callable[[], bool]) -> None:
        """Let time pass until then, or until something can be read."""
        while self._events and self._events[0][0] <= until_ns:
            at_ns, _, event = heapq.heappop(self._events)
            self.boot_ns = max(self.boot_ns, at_ns)
            event()
            if is_ready():
                return
        self.boot_ns = max(self.boot_ns, until_ns)

    # --- neighbours

    def mix(self, epoch: int) -> bytes:
        """R of an epoch."""
        return digest("virtual-mix", u32(epoch))

    def _plan_epoch(self, epoch: int) -> None:
        start_ns = (START_MS + epoch * self.params.epoch_ms) * MS - self.true_offset_ns
        for seed in self.seeds:
            for sequence in range(self.params.beacons_per_epoch):
                due_ms = slot_ms(self.params, digest("s", seed), self.mix(epoch), sequence)
                due_ns = start_ns + due_ms * MS
                if due_ns > self.boot_ns:
                    self.at(due_ns, lambda s=seed, q=sequence: self._speak(s, epoch, q))  # type: ignore[misc]
        self.at(start_ns + self.params.epoch_ms * MS, lambda: self._plan_epoch(epoch + 1))

    def _speak(self, seed: bytes, epoch: int, sequence: int) -> None:
        key = public_key(seed)
        beacon = Beacon(key, epoch, sequence, bytes(16), CELL, 2437, 1, self.true_ns())
        head = pack_beacon(beacon)[:SIGNED_BYTES]
        payload = head + sign(seed, "beacon", NETWORK, head)
        frame = build_frame(payload, mac_of(key), sequence)
        self._deliver(RADIOTAP + frame[TX_RADIOTAP_BYTES:])

    def _foreign(self) -> None:
        if self.switches.hears and self.radio is not None:
            self.device_frames += 1
        self.at(self.boot_ns + FOREIGN_NS, self._foreign)

    def _deliver(self, frame: bytes) -> None:
        if self.switches.hears and self.radio is not None:
            self.device_frames += 1
            self.radio.frames.append(frame)

    def unplug(self) -> None:
        """The radio leaves the bus: who has it open has nothing, even when it is back."""
        self.switches.has_device, self.radio = False, None

    def transmit(self, frame: bytes) -> None:
        """A frame goes on the air, and comes back as an echo."""
        if self.switches.speaks:
            self.on_air += 1
            self._note_said(frame)
            echo = RADIOTAP + frame[TX_RADIOTAP_BYTES:]
            self.at(self.boot_ns + 3 * MS, lambda: self._echo(echo))

    def _note_said(self, frame: bytes) -> None:
        heard = parse_frame(RADIOTAP + frame[TX_RADIOTAP_BYTES:])
        if isinstance(heard, Refusal):
            return
        beacon = parse_beacon_payload(heard.payload)
        if not isinstance(beacon, Refusal):
            said = beacon.answer + beacon.cell.to_bytes(8, "big")
            self.said.setdefault((beacon.epoch, beacon.sequence), set()).add(said)

    def _echo(self, frame: bytes) -> None:
        if self.radio is not None:
            self.radio.frames.append(frame)

    def take_record(self, record: object) -> None:
        """A record is on the ledger."""
        if isinstance(record, Registration):
            self.registered[record.key] = record.first_epoch, record.chain_length
        elif isinstance(record, EpochMessage):
            self.messages[record.epoch] += 1
            rows = range(0, len(record.report), RECEPTION_BYTES)
            entries = (record.report[at : at + RECEPTION_BYTES] for at in rows)
            self.reported.update((record.epoch - 1, entry) for entry in entries)

    # --- the machine's life

    def cut_power(self, dark_ns: int, *, clock_survives: bool) -> None:
        """The machine starts anew after a while in the dark; a router's clock may begin in 1970."""
        self.true_offset_ns += self.boot_ns + dark_ns - 10 * SECOND
        self.boot_ns, self.boots, self.radio = 10 * SECOND, self.boots + 1, None
        self._events.clear()
        self.wall_offset_ns = self.true_offset_ns if clock_survives else 0
        self.switches.synchronised = clock_survives
        self._plan_epoch(self.true_epoch())
        self.at(self.boot_ns + FOREIGN_NS, self._foreign)


class VirtualRadio:
    """The hotspot's radio in that world."""

    def __init__(self, world: World) -> None:
        """Raises UserError where the device is away."""
        if not (world.switches.has_device and world.switches.device == INTERFACE):
            raise UserError("radio.interface", f"{INTERFACE}: No such device", "plug it in")
        self.counts: Counter[str] = Counter()
        self.frames: list[bytes] = []
        self._world = world
        world.radio = self

    description = "virtual radio"

    def fileno(self) -> int:
        """No descriptor: the loop knows."""
        return -1

    def receive(self) -> list[bytes]:
        """What came."""
        frames, self.frames = self.frames, []
        self.counts["received"] += len(frames)
        return frames

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Hand a frame to the device."""
        del power_step_db
        if self._world.radio is not self:
            self.counts["send_failed"] += 1
            return
        self.counts["sent"] += 1
        self._world.transmit(frame)

    def dropped(self) -> int:
        """Nothing is lost on the way."""
        return 0

    def device_frames(self) -> int:
        """The device's own count."""
        return self._world.device_frames

    def close(self) -> None:
        """Give it back."""
        if self._world.radio is self:
            self._world.radio = None


class VirtualQueue(DurableQueue):
    """The daemon's own queue on a disk that may fail; the world notes what was kept."""

    def __init__(self, path: Path, limit_bytes: int, world: World) -> None:
        self._world = world
        super().__init__(path, limit_bytes)
        self._run("PRAGMA synchronous=OFF")  # the world's power cuts don't reach this disk

    def _check(self) -> None:
        if not self._world.switches.disk:
            raise UserError("queue", f"{self.path}: database or disk is full", "free some space")

    def store(self, batches: Iterable[tuple[bytes, int, Sequence[Action]]]) -> list[Outgoing]:
        """Store, unless the disk is full."""
        self._check()
        rows = list(batches)
        fresh = super().store(rows)
        for _, _, actions in rows:
            for action in actions:
                if isinstance(action, KeepReceptions):
                    self._world.kept.update((action.epoch, row) for row in action.receptions)
        return fresh

    def settle(self, results: Iterable[SubmitResult]) -> None:
        """Note answers, unless the disk is full."""
        self._check()
        super().settle(results)

    def note_settled(self, key: bytes, epoch: int) -> None:
        """Note what the ledger has, unless the disk is full."""
        self._check()
        super().note_settled(key, epoch)

    def set_note(self, name: str, value: bytes) -> None:
        """Keep a value, unless the disk is full."""
        self._check()
        super().set_note(name, value)


class VirtualWaker:
    """Rung by the ledger's answers."""

    def __init__(self) -> None:
        self.stopping = False
        self.rung = False

    def ring(self) -> None:
        """Wake the loop."""
        self.rung = True

    def answer(self) -> None:
        """Forget the rings."""
        self.rung = False

    def stop_on_signals(self) -> None:
        """Nobody sends any."""


class VirtualLoop:
    """Waits by turning the clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._readers: list[tuple[Any, Callable[[], None], bool]] = []
        self._resting = False

    def register(self, source: Any, read: Callable[[], None], *, once: bool = False) -> None:
        """Call `read` when there is something."""
        self._readers.append((source, read, once))
        self._resting = False

    def resume(self, source: Any) -> None:
        """Look at the radio again."""
        del source
        self._resting = False

    def unregister(self, source: Any) -> None:
        """Look no more."""
        self._readers = [row for row in self._readers if row[0] is not source]

    def _ready(self) -> list[Callable[[], None]]:
        return [read for source, read, once in self._readers if self._is_ready(source, once)]

    def _is_ready(self, source: Any, once: bool) -> bool:
        return bool(source.frames) and not self._resting if once else bool(source.rung)

    def wait(self, timeout_s: float) -> None:
        """Turn the clock by at most so much, then read."""
        if not self._ready():
            until_ns = self._world.boot_ns + max(MS, round(timeout_s * 1e9))
            self._world.advance(until_ns, lambda: bool(self._ready()))
        for source, read, once in list(self._readers):
            if self._is_ready(source, once):
                self._resting = self._resting or once
                read()

    def close(self) -> None:
        """Nothing is held."""


class VirtualUplink:
    """The ledger as the daemon meets it, without a thread: answers come as events of the world."""

    def __init__(self, world: World, wake: Callable[[], None]) -> None:
        self._world = world
        self._wake = wake
        self._ready: list[Event] = []
        self._wires: list[bytes] = []
        self._mixes: set[int] = set()
        self._peers: dict[bytes, None] = {}
        self._records: set[bytes] = set()
        self._away = self._stopped = False
        self._owner_ns = 0
        self._asked_ns: int | None = None  # when the next look is due
        self._call(0)

    def submit(self, wires: Iterable[bytes]) -> None:
        """Deliver records."""
        self._wires.extend(wires)
        self._call(ANSWER_NS)

    def fetch_mix(self, epoch: int) -> None:
        """Report a mix."""
        self._mixes = {e for e in self._mixes if e >= epoch - 1} | {epoch}
        self._call(ANSWER_NS)

    def find_peer(self, key: bytes) -> None:
        """Report who a key is."""
        self._peers[key] = None
        self._call(ANSWER_NS)

    def find_record(self, record_id: bytes) -> None:
        """Report whether the ledger has a record."""
        self._records.add(record_id)
        self._call(ANSWER_NS)

    def watch(self, key: bytes, owner: bytes, gateway: object = None) -> None:
        """Report each minute what the ledger says."""

    def start(self) -> None:
        """The world drives it."""

    def drain(self) -> list[Event]:
        """Events that are ready."""
        ready, self._ready = self._ready, []
        return ready

    def stop(self, patience_s: float = 0.0) -> None:
        """No more answers."""
        del patience_s
        self._stopped = True

    def _call(self, after_ns: int) -> None:
        at_ns = self._world.boot_ns + after_ns
        if self._asked_ns is None or at_ns < self._asked_ns:
            self._asked_ns = at_ns
            self._world.at(at_ns, self._tick)

    def _tick(self) -> None:
        if self._stopped or self._asked_ns is None or self._world.boot_ns < self._asked_ns:
            return
        self._asked_ns = None
        if self._world.switches.ledger:
            self._answer()
        elif self._wires or self._mixes or self._peers or self._world.boot_ns >= self._owner_ns:
            self._note(away=True)
        waits = self._wires or self._mixes or self._peers
        self._call(SECOND if waits else REFRESH_NS)

    def _note(self, *, away: bool) -> None:
        if away != self._away:
            self._away = away
            self._tell(LedgerAway("no route to the ledger") if away else LedgerBack())

    def _answer(self) -> None:
        world, had_work = self._world, bool(self._wires or self._mixes or self._peers)
        if self._wires:
            self._tell(Submitted(tuple(self._store(wire) for wire in self._wires)))
            self._wires = []
        known = world.true_epoch()
        for epoch in sorted(e for e in self._mixes if e <= known):
            self._mixes.discard(epoch)
            self._tell(MixKnown(epoch, world.mix(epoch)))
        peers = {public_key(seed): n + 1 for n, seed in enumerate(world.seeds)}
        for key in list(self._peers):
            index = peers.get(key, 0 if key in world.registered else None)
            self._tell(PeerKnown(key, index, 0))
        self._peers.clear()
        for record_id in self._records:
            self._tell(RecordKnown(record_id, record_id in world.records))
        self._records.clear()
        if world.boot_ns >= self._owner_ns:
            self._owner_ns, had_work = world.boot_ns + ASK_AGAIN_NS, True
            newest = max(world.messages, default=None)
            self._tell(OwnerKnown(known, 0, 0, 0, 0, None, None, newest))
        if had_work:
            self._note(away=False)

    def _store(self, wire: bytes) -> SubmitResult:
        record_id, signed = record_id_of(wire), decode(wire)
        if isinstance(signed, Signed) and record_id not in self._world.records:
            self._world.records.add(record_id)
            self._world.take_record(signed.record)
        return SubmitResult(record_id, True, len(self._world.records), "accepted", "")

    def _tell(self, event: Event) -> None:
        self._ready.append(event)
        self._wake()


@dataclass
class _Head:
    network_id: bytes
    start_ms: int
    preset: str
    epoch: int


class _Client:
    """What is asked before the start."""

    def __init__(self, world: World) -> None:
        self._world = world

    def head(self) -> _Head:
        """The network; OSError while the ledger is away."""
        if not self._world.switches.ledger:
            raise ConnectionRefusedError("no route to the ledger")
        return _Head(NETWORK, START_MS, self._world.preset, self._world.true_epoch())

    def find(self, path: str) -> dict[str, Any] | None:
        """What the ledger knows of a hotspot."""
        chain = self._world.registered.get(bytes.fromhex(path.rpartition("/")[2]))
        if chain is None:
            return None
        newest = max(self._world.messages, default=None)
        return {"last_epoch": newest, "first_epoch": chain[0], "chain_length": chain[1]}

    def find_record(self, record_id: bytes) -> bytes | None:
        """A record, if the ledger has it."""
        return record_id if record_id in self._world.records else None


class VirtualMachine(Machine):
    """One start of the machine: give a new one to each `Daemon`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wants_anew = False

    def wall_ns(self) -> int:
        """The wall clock, right or wrong."""
        return self.world.boot_ns + self.world.wall_offset_ns

    def boot_ns(self) -> int:
        """The boot clock."""
        return self.world.boot_ns

    def is_synchronised(self) -> bool:
        """What the kernel would say."""
        return self.world.switches.synchronised

    def boot_id(self) -> str:
        """Which start of the machine."""
        return f"boot-{self.world.boots}"

    def hold(self, key_file: Path) -> None:
        """Nobody else is there."""

    def open_radio(self, config: HotspotConfig) -> Any:
        """The radio, where the device is there."""
        del config
        return VirtualRadio(self.world)

    def open_queue(self, path: Path, limit_bytes: int) -> DurableQueue:
        """A queue on the world's disk."""
        return VirtualQueue(path, limit_bytes, self.world)

    def connect(self, url: str) -> Any:
        """The ledger's first answer."""
        del url
        return _Client(self.world)

    def make_uplink(self, url: str, wake: Callable[[], None]) -> Any:
        """The ledger for all that follows."""
        del url
        return VirtualUplink(self.world, wake)

    def make_loop(self) -> Any:
        """A loop that turns the clock."""
        return VirtualLoop(self.world)

    def make_waker(self) -> Any:
        """A waker without descriptors."""
        return VirtualWaker()

    def start_hook(self, command: str, interface: str) -> int | None:
        """The owner's command, which gives a radio its name again."""
        del command
        self.world.hooks += 1
        if self.world.switches.has_device:
            self.world.switches.device = interface
        return 1

    def hook_result(self, pid: int) -> int | None:
        """It has ended well."""
        return pid - 1

    def begin_anew(self) -> None:
        """The daemon wants a new process: whoever drives it makes one."""
        self.wants_anew = True


def settings() -> HotspotConfig:
    """Settings of the hotspot in that world, without a page."""
    spot = HotspotSection(cell=f"{CELL:x}", chain_length=6_000, page="")
    radio = RadioSection(kind="monitor", interface=INTERFACE, reset_hook="give-it-its-name")
    return HotspotConfig(spot, radio, LedgerSection(url="http://127.0.0.1:9"))


def status_of(folder: Path) -> dict[str, Any]:
    """What the daemon last wrote of itself."""
    return dict(json.loads((folder / "status.json").read_text()))
