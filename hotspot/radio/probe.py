"""Test frames, and the neighbours' answers to them: does anybody hear me? Pure.

`wavecomb hotspot doctor --radio` sends frames of kind 2. A hotspot that hears one answers over the
air with a frame of kind 3: which test, and how loud. It needs no ledger and no registration, so it
helps whoever is just setting up; nobody is paid for it, and no map takes it. Both look like beacons
of an epoch that no network reaches, so that neighbours of any version ignore them:

    field     test (2)                    answer (3)
    epoch     0xFFFFFFFF                  0xFFFFFFFF
    sequence  number of the test frame    the same number
    answer    16 random bytes             SHA-256(test payload)[:14] ‖ level i16 in dBm
    signed    tag test-frame              tag test-heard; of no network

A level of 0x7FFF is one that the driver didn't give. Answers cost air, so they are few: one for
each test, ANSWERS_MAX in a minute, each after a delay drawn from keys so that several neighbours
don't answer at once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from chain.keys import public_key, sign, verify
from chain.records import Refusal
from hotspot.radio.frame import (
    ELEMENT_TYPE,
    FLAG_CLOCK_SYNCHRONISED,
    KIND_CONFIRM,
    KIND_TEST,
    OUI,
    SIGNED_BYTES,
    VERSION,
    Beacon,
    Heard,
    pack_beacon,
    unpack_beacon,
)

TEST_EPOCH = 0xFFFFFFFF
TEST_TAG, HEARD_TAG, NO_NETWORK = "test-frame", "test-heard", bytes(32)
MS = 1_000_000
MINUTE_NS = 60_000 * MS
ANSWERS_MAX = 6  # in a minute: 10 ms of air at 1 Mb/s
SPREAD_MS = 300
REMEMBERED = 64
_LEVEL = struct.Struct(">14sh")
_NO_LEVEL = 0x7FFF
# How the element of a test frame goes on behind its length: every other frame is told at a glance.
_TEST_MARK = OUI + bytes((ELEMENT_TYPE, VERSION, KIND_TEST))


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A neighbour's word that it heard one of our test frames; level in dBm where it knew one."""

    key: bytes
    sequence: int
    heard_dbm: int | None
    rssi_dbm: int | None


def make_test(
    seed: bytes, number: int, noise: bytes, cell: int, frequency_mhz: int, now_ns: int
) -> bytes:
    """The payload of a test frame; `noise` is 16 random bytes."""
    fields = (TEST_EPOCH, number, noise, cell, frequency_mhz, 0, now_ns)
    return _signed(seed, Beacon(public_key(seed), *fields), KIND_TEST, TEST_TAG)


def make_confirmation(
    seed: bytes, test: bytes, level_dbm: int | None, cell: int, frequency_mhz: int, now_ns: int
) -> bytes:
    """The payload that says: this test frame was heard, so loud."""
    level = _NO_LEVEL if level_dbm is None else level_dbm
    answer = _LEVEL.pack(sha256(test).digest()[:14], level)
    number = int.from_bytes(test[38:42], "big")
    fields = (TEST_EPOCH, number, answer, cell, frequency_mhz, FLAG_CLOCK_SYNCHRONISED, now_ns)
    return _signed(seed, Beacon(public_key(seed), *fields), KIND_CONFIRM, HEARD_TAG)


def _signed(seed: bytes, beacon: Beacon, kind: int, tag: str) -> bytes:
    head = pack_beacon(beacon, kind)[:SIGNED_BYTES]
    return head + sign(seed, tag, NO_NETWORK, head)


def _is_signed(payload: bytes, key: bytes, tag: str) -> bool:
    return verify(key, tag, NO_NETWORK, payload[:SIGNED_BYTES], payload[SIGNED_BYTES:])


def read_confirmation(heard: Heard, tests: dict[bytes, int], own: bytes) -> Confirmation | None:
    """What a frame says of one of our `tests` (payload > number); None if nothing."""
    said = unpack_beacon(heard.payload, KIND_CONFIRM)
    if isinstance(said, Refusal) or said.key == own:
        return None
    head, level = _LEVEL.unpack(said.answer)
    known = {sha256(test).digest()[:14]: number for test, number in tests.items()}
    if known.get(head) != said.sequence or not _is_signed(heard.payload, said.key, HEARD_TAG):
        return None
    heard_dbm = None if level == _NO_LEVEL else level
    return Confirmation(said.key, said.sequence, heard_dbm, heard.rssi_dbm)


@dataclass(frozen=True, slots=True)
class RadioTest:
    """What became of test frames: how many left, were refused, came back; who heard them."""

    wanted: int
    sent: int
    refused: int
    echoed: int
    confirmed: tuple[Confirmation, ...] = ()

    @property
    def peers(self) -> tuple[bytes, ...]:
        """Keys of the neighbours that heard a test frame."""
        return tuple(sorted({one.key for one in self.confirmed}))


class Answerer:
    """Answers test frames for a hotspot that runs. Times are of a clock that nobody sets."""

    def __init__(
        self,
        seed: bytes,
        cell: int,
        frequency_mhz: int,
        parse: Callable[[bytes], Heard | Refusal],
        build: Callable[[bytes, bytes, int], bytes],
        source: bytes,
    ) -> None:
        """`source` is the MAC address that the hotspot sends from."""
        self.answered = 0
        self._seed, self._cell, self._frequency_mhz = seed, cell, frequency_mhz
        self._parse, self._build, self._source = parse, build, source
        self._own = public_key(seed)
        self._seen: deque[bytes] = deque(maxlen=REMEMBERED)
        self._times: deque[int] = deque()
        self._due: list[tuple[int, bytes]] = []

    def receive_frame(self, frame: bytes, now_ns: int) -> bool:
        """A frame came from the radio; True if it will be answered (mind `next_deadline`)."""
        if _TEST_MARK not in frame:
            return False
        heard = self._parse(frame)
        if isinstance(heard, Refusal):
            return False
        said = unpack_beacon(heard.payload, KIND_TEST)
        if isinstance(said, Refusal) or said.epoch != TEST_EPOCH or said.key == self._own:
            return False
        while self._times and now_ns - self._times[0] >= MINUTE_NS:
            self._times.popleft()
        if heard.payload in self._seen or len(self._times) >= ANSWERS_MAX:
            return False
        self._seen.append(heard.payload)
        if not _is_signed(heard.payload, said.key, TEST_TAG):
            return False
        self._times.append(now_ns)
        answer = make_confirmation(
            self._seed, heard.payload, heard.rssi_dbm, self._cell, self._frequency_mhz, now_ns
        )
        draw = int.from_bytes(sha256(self._own + heard.payload).digest()[:4], "big")
        self._due.append((now_ns + (draw * SPREAD_MS * MS >> 32), answer))
        return True

    def next_deadline(self) -> int | None:
        """When the next answer leaves; None if none waits."""
        return min((due_ns for due_ns, _ in self._due), default=None)

    def handle_deadline(self, now_ns: int) -> list[bytes]:
        """The frames that leave by now."""
        ready = [row for row in self._due if row[0] <= now_ns]
        self._due = [row for row in self._due if row[0] > now_ns]
        self.answered += len(ready)
        return [
            self._build(answer, self._source, (self.answered + n) % 4096)
            for n, (_, answer) in enumerate(sorted(ready))
        ]
