"""The hotspot as a sans-IO machine: beacons, witnessing, and the one signed message per epoch.

An epoch of a node, in milliseconds from its start (lead = `params.message_lead_ms`):

    0 ........................ epoch_ms - lead ............ epoch_ms
    |  beacon n in its n-th part  |  freeze, commit, report, reveal  |
    |  receptions are kept        |  (one message, at a drawn time)  |

    phase    | at its start                         | frames heard       | leaves at
    LISTEN   | fetch R_e, plan beacons when it came | kept as receptions | message time
    REPORTED | flush, freeze, seal and submit       | too late, counted  | next epoch

A node that was off at message time reports what it had kept as soon as it is back: late, so that
the map has it, and unpaid.

The report of an epoch is what was kept until its commit was made, never more: the commit binds
it. Both actions leave in one batch, [KeepReceptions, SubmitRecord], and a driver stores a batch
in one transaction, so that a process that dies at any moment finds either both or neither. A node
that was restored never signs a second message for an epoch that has one: two would prove a cloned
key.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chain.draws import answer, commit, digest, part_ms, power_step_db, slot_ms, u32
from chain.keys import public_key, sign, verify
from chain.params import Params
from chain.records import EpochMessage, Refusal
from chain.wire import pack_reception_fields, seal
from hotspot.actions import Action, FetchMix, KeepReceptions, Log, SendFrame, SubmitRecord
from hotspot.directory import Directory
from hotspot.radio.codec import FAST, Codec
from hotspot.radio.frame import (
    FLAG_CLOCK_SYNCHRONISED,
    SIGNED_BYTES,
    Beacon,
    pack_beacon,
)
from hotspot.secrets import SecretChain

MS = 1_000_000
FLUSH_ROWS = 64
# What a crash may cost: a twelfth of an epoch's receptions, a minute's at most. Each flush is a
# transaction on the router's flash: after five seconds, mainnet's would be one per reception.
FLUSH_SHARE, FLUSH_MAX_NS = 12, 60_000 * MS
# A beacon may be due in the last part's last instant: its sender wakes late, it is on the air for
# 2.5 ms, and its receiver reads it late. Whoever froze its report by then would call it too late.
FREEZE_GUARD_NS = 50 * MS
NO_MIX = bytes(32)
VERIFIED_MAX = 2_048  # a beacon is met again within milliseconds, and the cache keeps these at hand
_SPOKEN = struct.Struct(">2x32sII4s")  # of a payload: key, epoch, sequence, head of the answer

Verifier = Callable[[bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node is: its key, its place, its radio, and its network."""

    seed: bytes
    network_id: bytes
    start_ms: int
    params: Params
    cell: int
    frequency_mhz: int
    can_set_power: bool = True


class Spoken(NamedTuple):
    """What a payload says: the same for everybody who got these bytes, so it is read once.

    `beacon` is (ledger index of its key, None for a stranger's; sequence).
    """

    payload: bytes
    key: bytes
    epoch: int
    beacon: tuple[int | None, int]
    tag: bytes


@dataclass(slots=True)
class Memory:
    """What must survive a crash: receptions by epoch, and the last epoch that was signed.

    In `quiet_epoch` beacons left that said something else: no more may follow them.
    """

    receptions: dict[int, set[bytes]] = field(default_factory=dict)
    last_message_epoch: int = -1
    quiet_epoch: int = -1


def mac_of(key: bytes) -> bytes:
    """A locally administered unicast MAC address derived from a key."""
    head = digest("mac", key)[:6]
    return bytes([(head[0] & 0xFC) | 0x02]) + head[1:]


def beacon_verifier(network_id: bytes, *, remembers: bool = True) -> Verifier:
    """Check a beacon payload's signature; unless told otherwise, remember the answer by payload."""
    seen: dict[bytes, bool] = {}

    def check(key: bytes, payload: bytes) -> bool:
        return verify(key, "beacon", network_id, payload[:SIGNED_BYTES], payload[SIGNED_BYTES:])

    def check_once(key: bytes, payload: bytes) -> bool:
        known = seen.get(payload)
        if known is None:
            if len(seen) >= VERIFIED_MAX:
                seen.clear()
            known = seen[payload] = check(key, payload)
        return known

    return check_once if remembers else check


def read_spoken(payload: bytes, directory: Directory) -> Spoken:
    """Read a payload that `parse_frame` let through."""
    key, epoch, sequence, tag = _SPOKEN.unpack_from(payload)
    return Spoken(payload, key, epoch, (directory.index_of(key), sequence), tag)


class HotspotNode:
    """One hotspot. Feed it frames, mixes and the time; take its actions."""

    def __init__(
        self,
        identity: Identity,
        secrets: SecretChain,
        directory: Directory,
        verifier: Verifier | None = None,
        memory: Memory | None = None,
        codec: Codec = FAST,
    ) -> None:
        self.identity = identity
        self.secrets = secrets
        self.directory = directory
        self.key = public_key(identity.seed)
        self.mac = mac_of(self.key)
        self.counts: Counter[str] = Counter()
        self.last_heard: dict[int, tuple[int, int | None]] = {}  # index > (time_ns, rssi_dbm)
        self.epoch = -1
        self._codec = codec
        self._verify = verifier or beacon_verifier(identity.network_id)
        self._memory = memory or Memory()
        self._actions: list[Action] = []
        self._mixes: dict[int, bytes] = {}
        self._planned: list[tuple[int, int]] = []  # (time_ns, sequence), soonest last
        self._plan_by_ns: int | None = None
        self._message_ns: int | None = None
        self._unkept: list[bytes] = []
        self._flush_ns: int | None = None
        self._flush_after_ns = min(FLUSH_MAX_NS, identity.params.epoch_ms * MS // FLUSH_SHARE)
        self._seen: set[tuple[int | None, int]] = set()  # (index, sequence) heard in the epoch
        self._mac_sequence = 0
        self._index = -1
        self._bound_epoch = 0
        self._beacons = identity.params.beacons_per_epoch
        self._epoch_ns = range(0)  # the times that belong to `epoch`
        self._due_ns: int | None = None  # what next_deadline says, kept by _set_due

    # --- what the world tells it --------------------------------------------------------------

    def receive_registration(self, index: int, bound_epoch: int, now_ns: int) -> None:
        """The ledger knows this hotspot as `index`; its secrets bind from `bound_epoch` on."""
        self._index = index
        self._bound_epoch = max(bound_epoch, self.secrets.first_epoch)
        self.directory.update([(index, self.key)])
        self._enter_epoch(now_ns)
        self._set_due()

    def receive_mix(self, epoch: int, mix: bytes, now_ns: int) -> None:
        """The public randomness R_epoch became known."""
        self._mixes = {e: m for e, m in self._mixes.items() if e >= self.epoch - 2}
        self._mixes[epoch] = mix
        if epoch == self.epoch and self._plan_by_ns is not None:
            self._plan_beacons(now_ns)
            self._set_due()

    def receive_frame(self, data: bytes, now_ns: int) -> tuple[int, int | None] | None:
        """A frame with its radiotap header came; (index, dBm or None) if it is a new reception."""
        heard = self._codec.parse(data)
        if isinstance(heard, Refusal):
            self.counts[heard.reason] += 1
            return None
        spoken = read_spoken(heard.payload, self.directory)
        before = self.counts["heard"]
        self.receive_spoken(spoken, heard.rssi_dbm, heard.frequency_mhz, now_ns)
        index = spoken.beacon[0]
        if index is None or self.counts["heard"] == before:
            return None
        return index, heard.rssi_dbm

    def receive_spoken(
        self, spoken: Spoken, rssi_dbm: int | None, frequency_mhz: int | None, now_ns: int
    ) -> bool:
        """A frame that was read already came from the radio, at a level, on a channel.

        True where there are new actions or another deadline.
        """
        payload, key, epoch, beacon, tag = spoken
        index, sequence = beacon
        if (  # all that is wanted, in one look; why something isn't, is looked up where it isn't
            index is None
            or key == self.key
            or epoch != self.epoch
            or now_ns not in self._epoch_ns
            or sequence >= self._beacons
            or self._message_ns is None
            or beacon in self._seen
            or not self._verify(key, payload)
        ):
            self.counts[self._reason_to_ignore(spoken, now_ns)] += 1
            return False
        self.counts["heard"] += 1
        self.last_heard[index] = (now_ns, rssi_dbm)
        self._seen.add(beacon)
        flags, rssi_cdbm = (1, 0) if rssi_dbm is None else (0, 100 * rssi_dbm)
        channel_mhz = frequency_mhz or self.identity.frequency_mhz
        row = pack_reception_fields(index, sequence, flags, rssi_cdbm, channel_mhz, tag)
        return self._note(row, now_ns)

    def receive_past(self, data: bytes, at_ns: int) -> bool:
        """A frame came at a time that became known only now; True if it is kept.

        Call it before the registration or the deadline that closes its epoch is handled: an epoch
        that has a message takes nothing more.
        """
        heard = self._codec.parse(data)
        if isinstance(heard, Refusal):
            self.counts[heard.reason] += 1
            return False
        spoken = read_spoken(heard.payload, self.directory)
        epoch = self._epoch_of(at_ns)
        if epoch == self.epoch:
            before = self.counts["heard"]
            self.receive_spoken(spoken, heard.rssi_dbm, heard.frequency_mhz, at_ns)
            return self.counts["heard"] > before
        index, sequence = spoken.beacon
        rows = self._memory.receptions.get(epoch, set())
        if (
            index is None
            or spoken.key == self.key
            or spoken.epoch != epoch
            or sequence >= self._beacons
            or epoch <= self._memory.last_message_epoch
            or (index, sequence) in _pairs(rows)
            or not self._verify(spoken.key, heard.payload)
        ):
            self.counts["past_ignored"] += 1
            return False
        flags, rssi_cdbm = (1, 0) if heard.rssi_dbm is None else (0, 100 * heard.rssi_dbm)
        channel_mhz = heard.frequency_mhz or self.identity.frequency_mhz
        row = pack_reception_fields(index, sequence, flags, rssi_cdbm, channel_mhz, spoken.tag)
        self._memory.receptions[epoch] = rows | {row}
        self._actions.append(KeepReceptions(epoch, (row,)))
        self.counts["past_heard"] += 1
        return True

    def await_stranger(self) -> None:
        """The ledger is being asked who was heard: close the report at the latest of its times."""
        if self._message_ns is not None:
            self._message_ns = max(self._message_ns, self._message_by_ns(self.epoch))
            self._set_due()

    def read_stranger(self, data: bytes, *, any_epoch: bool = False) -> bytes | None:
        """The key of a signed beacon of this epoch that the directory doesn't know; else None.

        `any_epoch` is for who doesn't know the time yet.
        """
        heard = self._codec.parse(data)
        if isinstance(heard, Refusal):
            return None
        spoken = read_spoken(heard.payload, self.directory)
        if spoken.beacon[0] is not None or not (any_epoch or spoken.epoch == self.epoch):
            return None
        return spoken.key if self._verify(spoken.key, heard.payload) else None

    def read_epoch(self, data: bytes) -> tuple[int, int] | None:
        """(index, epoch) that the signed beacon of a registered neighbour names; else None."""
        heard = self._codec.parse(data)
        if isinstance(heard, Refusal):
            return None
        spoken = read_spoken(heard.payload, self.directory)
        index = spoken.beacon[0]
        if index is None or spoken.key == self.key:
            return None
        return (index, spoken.epoch) if self._verify(spoken.key, heard.payload) else None

    # --- time ---------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """Soonest time in ns at which something is due; None before registration."""
        return self._due_ns

    def handle_deadline(self, now_ns: int) -> None:
        """Do everything that is due at `now_ns`."""
        if self._index < 0:
            return
        if self._message_ns is not None and now_ns >= self._message_ns:
            self._report()
        if now_ns >= self._epoch_ns.stop:
            self._enter_epoch(now_ns)
        if self._plan_by_ns is not None and now_ns >= self._plan_by_ns:
            self.counts["mix_missing"] += 1
            self._plan_beacons(now_ns)
        while self._planned and now_ns >= self._planned[-1][0]:
            self._beacon(self._planned.pop()[1], now_ns)
        if self._flush_ns is not None and now_ns >= self._flush_ns:
            self._flush()
        self._set_due()

    def handle_jump(self, now_ns: int) -> None:
        """The wall clock was set, perhaps back: be in the epoch that it names now."""
        if self._index >= 0:
            self._enter_epoch(now_ns)
            self._set_due()

    def take_actions(self) -> list[Action]:
        """Hand over the actions gathered since the last call."""
        if not self._actions:
            return []
        actions, self._actions = self._actions, []
        return actions

    # --- views --------------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """Ledger index, -1 before registration."""
        return self._index

    @property
    def is_active(self) -> bool:
        """Whether this epoch is one in which this hotspot beacons and reports."""
        return self._index >= 0 and self._is_active(self.epoch)

    @property
    def reason_inactive(self) -> str:
        """Why it is not, for a hotspot that is registered; empty if it is."""
        if self.is_active:
            return ""
        if self.epoch < self._bound_epoch or self.epoch <= self.secrets.first_epoch:
            return f"it counts from epoch {max(self._bound_epoch, self.secrets.first_epoch + 1)}"
        return "its secrets are used up; run: wavecomb hotspot register --new-chain"

    @property
    def upcoming(self) -> tuple[int | None, int | None]:
        """Times (ns) of the next beacon and of the message of this epoch, where they are fixed."""
        return (self._planned[-1][0] if self._planned else None, self._message_ns)

    @property
    def memory(self) -> Memory:
        """What a driver that carries out actions at once has stored of this node by now."""
        return self._memory

    def kept(self, epoch: int) -> int:
        """How many receptions of an epoch are held."""
        return len(self._memory.receptions.get(epoch, ()))

    # --- inside -------------------------------------------------------------------------------

    def _epoch_of(self, now_ns: int) -> int:
        return self.identity.params.epoch_at(self.identity.start_ms, now_ns // MS)

    def _epoch_start_ns(self, epoch: int) -> int:
        return (self.identity.start_ms + epoch * self.identity.params.epoch_ms) * MS

    def _set_due(self) -> None:
        """Work out the next deadline; whoever moves a timer must see to it that this is called."""
        due_ns = self._epoch_ns.stop
        if self._planned and self._planned[-1][0] < due_ns:
            due_ns = self._planned[-1][0]
        if self._message_ns is not None and self._message_ns < due_ns:
            due_ns = self._message_ns
        if self._flush_ns is not None and self._flush_ns < due_ns:
            due_ns = self._flush_ns
        if self._plan_by_ns is not None and self._plan_by_ns < due_ns:
            due_ns = self._plan_by_ns
        self._due_ns = due_ns

    def _reason_to_ignore(self, spoken: Spoken, now_ns: int) -> str:
        """The first reason for which a frame is none of our receptions."""
        _, key, epoch, beacon, _ = spoken
        if key == self.key:
            return "echo"
        if beacon[0] is None:
            return "unknown_key"
        if epoch != self.epoch or now_ns not in self._epoch_ns:
            return "other_epoch"
        if beacon[1] >= self._beacons:
            return "bad_sequence"
        if self._message_ns is None:
            return "too_late"
        return "repeat" if beacon in self._seen else "bad_signature"

    def _note(self, row: bytes, now_ns: int) -> bool:
        """Keep a reception; True if that filled a batch or started its timer."""
        self._unkept.append(row)
        if len(self._unkept) >= FLUSH_ROWS:
            self._flush()
            self._set_due()
        elif self._flush_ns is None:
            self._flush_ns = flush_ns = now_ns + self._flush_after_ns
            if self._due_ns is None or flush_ns < self._due_ns:
                self._due_ns = flush_ns
        else:
            return False
        return True

    def _flush(self) -> None:
        self._flush_ns = None
        if self._unkept:
            rows, self._unkept = tuple(self._unkept), []
            if self.epoch not in self._memory.receptions:
                self._memory.receptions[self.epoch] = set()
            self._memory.receptions[self.epoch].update(rows)
            self._actions.append(KeepReceptions(self.epoch, rows))

    def _enter_epoch(self, now_ns: int) -> None:
        epoch = self._epoch_of(now_ns)
        if epoch == self.epoch:
            return
        self._flush()
        self.epoch = epoch
        # Epoch 0 takes the time before the network's start too.
        first_ns = self._epoch_start_ns(epoch) if epoch else 0
        self._epoch_ns = range(first_ns, self._epoch_start_ns(epoch + 1))
        self._planned = []
        self._message_ns = self._plan_by_ns = None
        self._catch_up(epoch)
        kept = self._memory.receptions
        self._memory.receptions = {e: rows for e, rows in kept.items() if e >= epoch - 1}
        self._seen = set(_pairs(self._memory.receptions.get(epoch, ())))
        if not self._is_active(epoch):
            return
        if self._memory.last_message_epoch < epoch:
            self._message_ns = self._message_time_ns(epoch)
        # Without R_e by then, beacons are planned without it: no slot is earlier.
        self._plan_by_ns = now_ns + self.identity.params.mix_lead_ms * MS
        if epoch in self._mixes:
            self._plan_beacons(now_ns)
        else:
            self._actions.append(FetchMix(epoch))

    def _is_active(self, epoch: int) -> bool:
        return (
            epoch >= self._bound_epoch
            and self.secrets.covers(epoch)
            and self.secrets.covers(epoch - 1)
        )

    def _message_time_ns(self, epoch: int) -> int:
        """A drawn time in the first 2/5 of the last part: no storm, and time for a slow ledger.

        None falls into the guard after the last beacon's part: those drawn there leave at its end.
        """
        draw = int.from_bytes(digest("message-time", self.key, u32(epoch))[:4], "big")
        lead_ns = self.identity.params.message_lead_ms * MS
        after_ns = max((draw * lead_ns * 2 // 5) >> 32, FREEZE_GUARD_NS)
        return self._epoch_start_ns(epoch + 1) - lead_ns + after_ns

    def _message_by_ns(self, epoch: int) -> int:
        """The latest of the times that `_message_time_ns` draws."""
        lead_ns = self.identity.params.message_lead_ms * MS
        return self._epoch_start_ns(epoch + 1) - lead_ns + lead_ns * 2 // 5

    def _plan_beacons(self, now_ns: int) -> None:
        """Fix this epoch's beacon times; one whose time has passed meanwhile leaves at once."""
        self._plan_by_ns = None
        if self.epoch == self._memory.quiet_epoch:
            return
        params, secret = self.identity.params, self.secrets.link(self.epoch)
        mix = self._mixes.get(self.epoch, NO_MIX)
        start = self._epoch_start_ns(self.epoch)
        first_ms, length_ms = params.mix_lead_ms, part_ms(params)
        plan = []
        for sequence in range(params.beacons_per_epoch):
            part_end = start + (first_ms + (sequence + 1) * length_ms) * MS
            if now_ns < part_end:
                due = start + slot_ms(params, secret, mix, sequence) * MS
                plan.append((max(due, now_ns), sequence))
        self._planned = sorted(plan, reverse=True)

    def _beacon(self, sequence: int, now_ns: int) -> None:
        identity, epoch = self.identity, self.epoch
        secret, mix = self.secrets.link(epoch), self._mixes.get(epoch, NO_MIX)
        beacon = Beacon(
            key=self.key,
            epoch=epoch,
            sequence=sequence,
            answer=answer(secret, epoch, sequence),
            cell=identity.cell,
            frequency_mhz=identity.frequency_mhz,
            flags=FLAG_CLOCK_SYNCHRONISED,
            time_ns=now_ns,
            signature=bytes(64),
        )
        head = pack_beacon(beacon)[:SIGNED_BYTES]
        payload = head + sign(identity.seed, "beacon", identity.network_id, head)
        step = power_step_db(secret, mix, sequence) if identity.can_set_power else 0
        self._mac_sequence = (self._mac_sequence + 1) % 4096
        frame = self._codec.build(payload, self.mac, self._mac_sequence)
        self.counts["beacons"] += 1
        self._actions.append(SendFrame(frame, step, identity.frequency_mhz))

    def _catch_up(self, epoch: int) -> None:
        """Sign, late and for the map only, what past epochs kept and nobody was there to report."""
        kept = self._memory.receptions
        missed = {e for kept_epoch in kept for e in (kept_epoch, kept_epoch + 1)}
        for past in sorted(missed):
            if self._memory.last_message_epoch < past < epoch and self._is_active(past):
                self.counts["late_messages"] += 1
                self._sign_message(past)

    def _report(self) -> None:
        """Freeze this epoch's receptions and sign the epoch message."""
        self._message_ns = None
        self._flush()
        self._sign_message(self.epoch)

    def _sign_message(self, epoch: int) -> None:
        message = EpochMessage(
            hotspot=self._index,
            epoch=epoch,
            commit=commit(self._index, epoch, self.secrets.link(epoch), self._report_of(epoch)),
            report=self._report_of(epoch - 1),
            reveal=self.secrets.link(epoch - 1),
        )
        signed = seal(message, self.identity.network_id, [self.identity.seed])
        self._memory.last_message_epoch = epoch
        self.counts["messages"] += 1
        self._actions.append(SubmitRecord(signed.wire, epoch))
        self._actions.append(
            Log("debug", f"epoch {epoch}: {len(message.report) // 14} receptions reported")
        )

    def _report_of(self, epoch: int) -> bytes:
        rows = sorted(self._memory.receptions.get(epoch, ()))
        return b"".join(rows[: self.identity.params.max_receptions])


def _pairs(rows: Iterable[bytes]) -> list[tuple[int, int]]:
    """(heard, sequence) of packed receptions."""
    return [(int.from_bytes(row[:4], "big"), row[4]) for row in rows]


def memory_from(rows: Mapping[int, Iterable[bytes]], last_message_epoch: int) -> Memory:
    """Memory as stored: packed receptions by epoch, and the last epoch with a message."""
    return Memory({epoch: set(packed) for epoch, packed in rows.items()}, last_message_epoch)
