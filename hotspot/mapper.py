"""Mapping on the move: where we were, what we heard there, and what is signed of it.

Pure: positions and beacons go in with their times, records come out. An epoch's receptions are kept
by cell of resolution 9, each cell under a key of its own that is used once: the ledger learns a
cell, an epoch and what was heard, and can't put two of them together to a way. While an epoch runs
its cells are committed to; when it is over they are reported (docs/rewards.md, "Mappers").
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree import ElementTree

from chain.draws import mapper_commit, tag_of
from chain.keys import public_key
from chain.records import MapperCommit, MapperReport, Reception, Refusal
from chain.wire import pack_reception, seal
from hotspot.radio.frame import Heard, unpack_beacon

MAPPER_RESOLUTION = 9
RECEPTIONS_MAX = 256  # of a report
FIX_GAP_MS = 30_000  # a position between two fixes farther apart in time isn't known
NO_RSSI = 1  # flag of a reception
TRACK_MAX_BYTES = 64 << 20
NO_FIX = Refusal("no_fix", "position: none at the time; wait for the receiver, or bring a log")
UNKNOWN_HOTSPOT = Refusal("unknown_hotspot", "beacon: its key isn't registered; ignored")
OTHER_EPOCH = Refusal("other_epoch", "beacon: of another epoch than its time; ignored")
BAD_SIGNATURE = Refusal("bad_signature", "beacon: its key did not sign it; ignored")
CLOSED = Refusal("closed", "cell: committed to already; the next epoch goes on")
FULL = Refusal("full", f"cell: {RECEPTIONS_MAX} receptions in this epoch already; ignored")

CellAt = Callable[[float, float], int]
Verify = Callable[[bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Fix:
    """A position in degrees at a time in ms since 1970."""

    time_ms: int
    latitude_deg: float
    longitude_deg: float


# ---- where


@dataclass(slots=True)
class Track:
    """Fixes in the order of time; positions between two of them lie on a straight line."""

    fixes: list[Fix] = field(default_factory=list)

    def add(self, fix: Fix) -> None:
        """Take a fix; one that is older than the newest finds its place."""
        if self.fixes and fix.time_ms < self.fixes[-1].time_ms:
            self.fixes.insert(bisect_left([f.time_ms for f in self.fixes], fix.time_ms), fix)
        else:
            self.fixes.append(fix)

    def forget_before(self, time_ms: int) -> None:
        """Drop fixes that nothing will ask for."""
        first = bisect_left([f.time_ms for f in self.fixes], time_ms)
        del self.fixes[: max(0, first - 1)]

    def at(self, time_ms: int) -> tuple[float, float] | None:
        """Latitude and longitude at a time; None where the nearest fixes are too far from it."""
        place = bisect_left([f.time_ms for f in self.fixes], time_ms)
        near = [
            f for f in self.fixes[max(0, place - 1) : place + 1]
            if abs(f.time_ms - time_ms) <= FIX_GAP_MS
        ]  # fmt: skip
        if not near:
            return None
        if len(near) == 1:
            return near[0].latitude_deg, near[0].longitude_deg
        before, after = near
        span = max(after.time_ms - before.time_ms, 1)
        share = (time_ms - before.time_ms) / span
        turn = (after.longitude_deg - before.longitude_deg + 180.0) % 360.0 - 180.0
        longitude = (before.longitude_deg + share * turn + 180.0) % 360.0 - 180.0
        climb = after.latitude_deg - before.latitude_deg
        return before.latitude_deg + share * climb, longitude


def parse_time_ms(text: str) -> int:
    """RFC 3339 (no zone means UTC), or seconds since 1970; ValueError for anything else."""
    try:
        return round(float(text) * 1_000)
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)


def make_fix(time: str, latitude: str | float, longitude: str | float) -> Fix:
    """A checked fix; ValueError for what is no place or no time."""
    lat, lon = float(latitude), float(longitude)
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        raise ValueError("position: outside the Earth")
    return Fix(parse_time_ms(time), lat, lon)


def parse_gpsd(line: bytes | str) -> Fix | None:
    """The fix in a line of gpsd's JSON (class TPV, mode 2 or better); None for all else."""
    try:
        value = json.loads(line)
        if value.get("class") != "TPV" or int(value.get("mode", 0)) < 2:
            return None
        return make_fix(value["time"], value["lat"], value["lon"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def parse_gpx(text: str) -> list[Fix] | Refusal:
    """Fixes of a GPX file's points that have a time; refused if it is no GPX, or has none."""
    if "<!ENTITY" in text:
        return Refusal("bad_track", "track: declares entities; export it anew")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return Refusal("bad_track", f"track: no GPX ({error}); export it anew")
    fixes = []
    for point in root.iter():
        if point.tag.rpartition("}")[2] not in ("trkpt", "rtept", "wpt"):
            continue
        times = [x.text for x in point if x.tag.rpartition("}")[2] == "time" and x.text]
        try:
            fixes.append(make_fix(times[0], point.attrib["lat"], point.attrib["lon"]))
        except (ValueError, KeyError, IndexError, OverflowError):
            continue
    return _ordered(fixes)


def parse_track_csv(rows: Iterable[Mapping[str, str | None]]) -> list[Fix] | Refusal:
    """Fixes of a table with the columns time, lat and lon; rows without them are left out."""
    fixes = []
    for row in rows:
        plain = {str(k).strip().lower(): v or "" for k, v in row.items()}
        try:
            latitude = plain.get("lat") or plain["latitude"]
            longitude = plain.get("lon") or plain["longitude"]
            fixes.append(make_fix(plain.get("time") or plain["timestamp"], latitude, longitude))
        except (ValueError, KeyError, OverflowError):
            continue
    return _ordered(fixes)


def _ordered(fixes: list[Fix]) -> list[Fix] | Refusal:
    if not fixes:
        return Refusal("bad_track", "track: no point with a time; need time, lat and lon")
    return sorted(fixes, key=lambda fix: fix.time_ms)


# ---- what was heard, and what is signed


@dataclass(slots=True)
class Stop:
    """What was heard in one cell during one epoch, and the key and salt that only it has."""

    epoch: int
    cell: int
    seed: bytes
    salt: bytes
    receptions: dict[tuple[int, int], bytes] = field(default_factory=dict)
    state: str = "open"  # open, closed (nothing more comes in), committed, done; or missed

    def report(self) -> bytes:
        """Receptions as records carry them."""
        return b"".join(sorted(self.receptions.values()))


@dataclass(slots=True)
class Mapper:
    """Collects stops by epoch and cell; `new_secret(n)` gives n random bytes."""

    network_id: bytes
    directory: Mapping[bytes, int]  # index by hotspot's key
    start_ms: int
    epoch_ms: int
    cell_at: CellAt
    verify: Verify
    new_secret: Callable[[int], bytes]
    stops: dict[tuple[int, int], Stop] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def epoch_at(self, time_ms: int) -> int:
        """The epoch that a time falls into."""
        return max(0, time_ms - self.start_ms) // self.epoch_ms

    def hear(self, heard: Heard, time_ms: int, track: Track) -> Reception | Refusal:
        """Take a beacon that was heard at a time, or say why not."""
        found = self._take(heard, time_ms, track)
        name = found.reason if isinstance(found, Refusal) else "heard"
        self.counts[name] = self.counts.get(name, 0) + 1
        return found

    def _take(self, heard: Heard, time_ms: int, track: Track) -> Reception | Refusal:
        beacon = unpack_beacon(heard.payload)
        if isinstance(beacon, Refusal):
            return beacon
        index = self.directory.get(beacon.key)
        if index is None:
            return UNKNOWN_HOTSPOT
        if beacon.epoch != self.epoch_at(time_ms):
            return OTHER_EPOCH
        place = track.at(time_ms)
        if place is None:
            return NO_FIX
        if not self.verify(beacon.key, heard.payload):
            return BAD_SIGNATURE
        reception = Reception(
            index, beacon.sequence & 0xFF, NO_RSSI if heard.rssi_dbm is None else 0,
            0 if heard.rssi_dbm is None else heard.rssi_dbm * 100,
            heard.frequency_mhz or beacon.frequency_mhz, tag_of(beacon.answer),
        )  # fmt: skip
        stop = self._stop(beacon.epoch, self.cell_at(*place))
        if stop is None:
            return CLOSED
        if len(stop.receptions) >= RECEPTIONS_MAX:
            return FULL
        stop.receptions.setdefault((index, reception.sequence), pack_reception(reception))
        return reception

    def _stop(self, epoch: int, cell: int) -> Stop | None:
        """The stop of a cell; None once its records are made."""
        place = (epoch, cell)
        if place not in self.stops:
            self.stops[place] = Stop(epoch, cell, self.new_secret(32), self.new_secret(16))
        stop = self.stops[place]
        return stop if stop.state == "open" else None

    def closing(self, now_ms: int, lead_ms: int) -> Iterator[Stop]:
        """Stops of the present epoch whose time to commit has come: `lead_ms` before its end."""
        epoch = self.epoch_at(now_ms)
        if now_ms < self.start_ms + (epoch + 1) * self.epoch_ms - lead_ms:
            return
        for (of, _), stop in sorted(self.stops.items()):
            if of == epoch and stop.state == "open":
                stop.state = "closed"
                yield stop

    def reportable(self, epoch: int) -> list[Stop]:
        """Committed stops of epochs before the ledger's present one."""
        return [s for _, s in sorted(self.stops.items()) if s.state == "committed"
                and s.epoch < epoch]  # fmt: skip

    def missed(self, epoch: int) -> list[Stop]:
        """Stops that were not committed to while their epoch ran: nothing can be paid for them."""
        return [s for _, s in sorted(self.stops.items()) if s.state in ("open", "closed")
                and s.epoch < epoch]  # fmt: skip


def commit_wire(stop: Stop, network_id: bytes) -> bytes:
    """The signed commit of a stop."""
    key = public_key(stop.seed)
    bound = mapper_commit(key, stop.epoch, stop.salt, stop.cell, stop.report())
    return seal(MapperCommit(key, stop.epoch, bound), network_id, [stop.seed]).wire


def report_wire(stop: Stop, network_id: bytes) -> bytes:
    """The signed report of a stop."""
    key = public_key(stop.seed)
    record = MapperReport(key, stop.epoch, stop.cell, stop.salt, stop.report())
    return seal(record, network_id, [stop.seed]).wire


def pack_stops(stops: Iterable[Stop]) -> list[dict[str, object]]:
    """Stops as JSON, secrets included."""
    return [
        {"epoch": s.epoch, "cell": f"{s.cell:x}", "seed": s.seed.hex(), "salt": s.salt.hex(),
         "state": s.state, "receptions": [[*place, raw.hex()] for place, raw in
                                          sorted(s.receptions.items())]}
        for s in stops
    ]  # fmt: skip


def unpack_stops(rows: Iterable[Mapping[str, object]]) -> dict[tuple[int, int], Stop]:
    """Stops of `pack_stops`; ValueError, KeyError or TypeError for anything else."""
    found = {}
    for row in rows:
        stop = Stop(
            int(str(row["epoch"])), int(str(row["cell"]), 16), bytes.fromhex(str(row["seed"])),
            bytes.fromhex(str(row["salt"])), state=str(row["state"]),
        )  # fmt: skip
        receptions = row["receptions"]
        if not isinstance(receptions, list):
            raise TypeError("receptions: no list")
        for index, sequence, raw in receptions:
            stop.receptions[int(index), int(sequence)] = bytes.fromhex(raw)
        found[stop.epoch, stop.cell] = stop
    return found
