"""`wavecomb hotspot map`: drive, listen, commit, report; Ctrl-C and kill lose nothing.

Positions come from gpsd (its JSON over TCP) or from a log; beacons from a monitor-mode interface or
a capture. Everything that is owed to the ledger stands in the state file before it is sent. A log
of an epoch that is over can't be committed to any more: it becomes a table for `wavecomb map
import`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable
from chain.io_terminal import print_json
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Refusal, Transfer
from chain.wire import seal, unpack_receptions
from hotspot.hexagon import cell_at
from hotspot.mapper import (
    FIX_GAP_MS,
    MAPPER_RESOLUTION,
    Mapper,
    Stop,
    Track,
    commit_wire,
    pack_stops,
    parse_gpsd,
    parse_gpx,
    parse_track_csv,
    report_wire,
    unpack_stops,
)
from hotspot.radio.frame import Heard, parse_frame

GPSD_PORT = 2947
WATCH = b'?WATCH={"enable":true,"json":true};\n'
LINE_MAX = 1 << 16
PAUSE_S = 0.05
RETRY_S = 2.0
KEEP_DONE = 500


def add_options(sub: argparse.ArgumentParser) -> None:
    """Options of `wavecomb hotspot map`."""
    sub.add_argument(
        "--ledger", required=True, metavar="URL", help="http://HOST:PORT or unix:/PATH"
    )
    where = sub.add_mutually_exclusive_group()
    where.add_argument(
        "--gpsd", metavar="HOST:PORT", help="position from gpsd (default: 127.0.0.1:2947)"
    )
    where.add_argument(
        "--track", type=Path, metavar="FILE", help="position from a .gpx or .csv log"
    )
    heard = sub.add_mutually_exclusive_group()
    heard.add_argument("--interface", metavar="IF", help="listen on a monitor-mode interface")
    heard.add_argument("--capture", type=Path, metavar="FILE", help="or read a pcap or pcapng file")
    sub.add_argument(
        *("--state",), type=Path, default=Path("mapper.json"), metavar="FILE",
        help="what is owed, and the keys that get paid; keep it (default: %(default)s)",
    )  # fmt: skip
    sub.add_argument("--seconds", type=float, metavar="S", help="stop after (default: Ctrl-C)")
    sub.add_argument(
        "--finish", action="store_true", help="go on until all that was heard is reported"
    )
    sub.add_argument("--csv", type=Path, metavar="FILE", help="also write a drive-test table")
    sub.add_argument("--collect-to", metavar="KEYHEX", help="send what the keys earned there")
    sub.add_argument("--json", action="store_true", help="print one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Map until told to stop, or collect what was earned."""
    with LedgerClient(options.ledger) as client:
        try:
            drive = Drive(options, client)
            return drive.collect() if options.collect_to else drive.run()
        except (LedgerUnavailable, LedgerRefused) as error:
            remedy = f"start it, then run again: {options.state} has everything"
            raise UserError("--ledger", str(error), remedy, exit_code=EXIT_FAILED) from error


class Drive:
    """One run: the machine, its state file, the ledger, and where positions and frames are from."""

    def __init__(self, options: argparse.Namespace, client: LedgerClient) -> None:
        from hotspot.node import beacon_verifier

        self.options, self.client = options, client
        head = client.head()
        self.params = PRESETS[head.preset]
        self.hotspots = {info.key: info for info in client.hotspots()}
        self.mapper = Mapper(
            head.network_id, {key: info.index for key, info in self.hotspots.items()},
            head.start_ms, head.epoch_ms, _cell_at, beacon_verifier(head.network_id),
            secrets.token_bytes, load_state(options.state, head.network_id),
        )  # fmt: skip
        self.track = Track()
        self.places: dict[tuple[int, int, int, int], tuple[float, float]] = {}
        self._asked_at = -RETRY_S

    def run(self) -> int:
        """Listen and send; the exit code is 1 if nothing was heard."""
        try:
            if self.options.capture or self.options.interface or not self.options.finish:
                with contextlib.ExitStack() as closing:
                    fixes, frames = self._sources(closing)
                    self._listen(fixes, frames)
            self._send(_now_ms(), at_once=True)
            while self.options.finish and self._owed():
                time.sleep(PAUSE_S)
                self._send(_now_ms(), at_once=True)
        except KeyboardInterrupt:
            sys.stderr.write("wavecomb: stopping; run again with --finish to report the rest\n")
            self._send(_now_ms(), at_once=True)
        return self._tell()

    def _owed(self) -> list[Stop]:
        return [s for s in self.mapper.stops.values() if s.state in ("closed", "committed")]

    def _sources(self, closing: contextlib.ExitStack) -> tuple[Any, Any]:
        """Callables that give fixes, and (frame, time) pairs or None at the end of a capture."""
        fixes: Callable[[], list[Any]] = list
        if self.options.track:
            self.track = Track(read_track(self.options.track))
        else:
            fixes = Gpsd(self.options.gpsd or f"127.0.0.1:{GPSD_PORT}", closing).fixes
        if self.options.capture:
            return fixes, CaptureSource(self.options.capture).frames
        if self.options.interface:
            return fixes, RadioSource(self.options.interface, closing).frames
        raise UserError("--interface", "nothing to listen to", "name --interface or --capture")

    def _listen(self, fixes: Any, frames: Any) -> None:
        until = time.monotonic() + (self.options.seconds or float("inf"))
        waiting: list[tuple[Heard, int]] = []
        ended = False
        while time.monotonic() < until and not (ended and not waiting):
            for fix in fixes():
                self.track.add(fix)
            got = frames()
            ended = ended or got is None
            waiting += got or []
            waiting = self._hear(waiting, ended)
            self._send(_now_ms())
            if not got and not ended:
                time.sleep(PAUSE_S)

    def _hear(self, waiting: list[tuple[Heard, int]], ended: bool) -> list[tuple[Heard, int]]:
        """Take frames whose position is known by now; those that still wait for their fix."""
        later = []
        for heard, time_ms in waiting:
            newest = self.track.fixes[-1].time_ms if self.track.fixes else 0
            if newest < time_ms and not ended and _now_ms() - time_ms < FIX_GAP_MS:
                later.append((heard, time_ms))
                continue
            found = self.mapper.hear(heard, time_ms, self.track)
            place = self.track.at(time_ms)
            if not isinstance(found, Refusal) and place is not None:
                epoch = self.mapper.epoch_at(time_ms)
                where = (epoch, self.mapper.cell_at(*place), found.heard, found.sequence)
                self.places[where] = place
        return later

    # ---- the ledger

    def _send(self, now_ms: int, *, at_once: bool = False) -> None:
        """Commit to stops whose time has come (or all), report those whose epoch is over."""
        lead_ms = self.mapper.epoch_ms if at_once else self.params.message_lead_ms
        closing = list(self.mapper.closing(now_ms, lead_ms))
        owed = self._owed()
        if not closing and (not owed or time.monotonic() - self._asked_at < RETRY_S):
            return
        self._asked_at = time.monotonic()
        self._save()
        try:
            epoch = self.client.head().epoch
            for stop in [s for s in owed if s.state == "closed" and s.epoch == epoch]:
                self._submit(stop, commit_wire(stop, self.mapper.network_id), "committed")
            for stop in self.mapper.reportable(epoch):
                self._submit(stop, report_wire(stop, self.mapper.network_id), "done")
            for stop in self.mapper.missed(epoch):
                stop.state = "missed"
        except LedgerUnavailable as error:
            sys.stderr.write(f"wavecomb: ledger: {error}; trying again\n")
        self._save()

    def _submit(self, stop: Stop, wire: bytes, state: str) -> None:
        answer = self.client.submit([wire])[0]
        # A record that the ledger has already is as good as taken: an answer got lost.
        if answer.accepted or answer.reason in ("duplicate", "no_commit"):
            stop.state = state
        elif answer.reason != "wrong_epoch":
            stop.state = "done"
            sys.stderr.write(f"wavecomb: {answer.reason}: {answer.detail}\n")
        name = f"{state}_{'accepted' if answer.accepted else answer.reason}"
        self.mapper.counts[name] = self.mapper.counts.get(name, 0) + 1

    def _save(self) -> None:
        save_state(self.options.state, self.mapper.network_id, list(self.mapper.stops.values()))

    def _tell(self) -> int:
        self._save()
        if self.options.csv:
            write_table(self.options.csv, self.mapper, self.hotspots, self.places)
        states: dict[str, int] = {}
        for stop in self.mapper.stops.values():
            states[stop.state] = states.get(stop.state, 0) + 1
        said = {
            "counts": dict(sorted(self.mapper.counts.items())),
            "stops": dict(sorted(states.items())),
            "state": str(self.options.state),
        }
        if self.options.json:
            print_json(said)
        else:
            print("\n".join(f"{name:20}{value}" for name, value in said.items()))
        return EXIT_OK if self.mapper.counts.get("heard") or states else EXIT_FAILED

    def collect(self) -> int:
        """Send what every one-time key has earned to one account (which links them in public)."""
        try:
            to = bytes.fromhex(self.options.collect_to)
        except ValueError:
            to = b""
        if len(to) != 32:
            raise UserError("--collect-to", "is no key", "give 64 hexadecimal digits")
        sent = total = 0
        for stop in self.mapper.stops.values():
            key = public_key(stop.seed)
            about = self.client.get(f"/v1/accounts/{key.hex()}")
            if amount := int(about["balance_ucr"]):
                record = Transfer(key, to, amount, int(about["nonce"]) + 1, "")
                wire = seal(record, self.mapper.network_id, [stop.seed]).wire
                if self.client.submit([wire])[0].accepted:
                    sent, total = sent + 1, total + amount
        said = {"keys": len(self.mapper.stops), "sent": sent, "amount_ucr": total}
        print_json(said) if self.options.json else print(
            f"{total} ucr of {sent} keys sent to {self.options.collect_to}"
        )
        return EXIT_OK


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _cell_at(latitude: float, longitude: float) -> int:
    return cell_at(latitude, longitude, MAPPER_RESOLUTION)


# ---- state


def load_state(path: Path, network_id: bytes) -> dict[tuple[int, int], Stop]:
    """Stops of earlier runs; UserError if the file is another network's, or none of ours."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["network_id"] != network_id.hex():
            raise UserError("--state", f"{path} is of another network", "name another file")
        return unpack_stops(value["stops"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "move it away; keys in it may hold credits"
        raise UserError("--state", f"{path} can't be read ({error!r})", remedy) from error


def save_state(path: Path, network_id: bytes, stops: list[Stop]) -> None:
    """Replace the state file; only its owner may read it. Paid stops are kept for their keys."""
    done = [s for s in stops if s.state == "done"][-KEEP_DONE:]
    kept = [s for s in stops if s.state not in ("done", "missed")] + done
    temporary = path.with_suffix(".part")
    temporary.touch(mode=0o600)
    temporary.write_text(
        json.dumps({"network_id": network_id.hex(), "stops": pack_stops(kept)}), encoding="utf-8"
    )
    temporary.replace(path)


def write_table(
    path: Path, mapper: Mapper, hotspots: dict[bytes, Any],
    places: dict[tuple[int, int, int, int], tuple[float, float]],
) -> None:  # fmt: skip
    """Write this run's receptions as a drive test, with exact positions: `wavecomb map import`."""
    at = {info.index: info for info in hotspots.values()}
    names = ("tx_lat", "tx_lon", "rx_lat", "rx_lon", "frequency_hz", "rssi_dbm", "tx_height_m")
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(names)
        for (epoch, cell), stop in sorted(mapper.stops.items()):
            for one in unpack_receptions(stop.report()):
                place = places.get((epoch, cell, one.heard, one.sequence))
                if place is None or one.flags:
                    continue
                info = at[one.heard]
                writer.writerow((
                    info.latitude_udeg / 1e6, info.longitude_udeg / 1e6, *place,
                    one.frequency_mhz * 1_000_000, one.rssi_cdbm / 100, info.height_m,
                ))  # fmt: skip


# ---- sources


def read_track(path: Path) -> list[Any]:
    """Fixes of a log; UserError names what is wrong with it."""
    try:
        if path.suffix.lower() == ".gpx":
            found = parse_gpx(path.read_text(encoding="utf-8-sig"))
        else:
            with path.open(newline="", encoding="utf-8-sig") as lines:
                found = parse_track_csv(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError("--track", f"{path} can't be read ({error})", "give GPX or CSV") from error
    if isinstance(found, Refusal):
        raise UserError("--track", f"{path}: {found.detail}", "check the log")
    return found


class Gpsd:
    """A gpsd, watched without waiting; it is called again when it goes away."""

    def __init__(self, where: str, closing: contextlib.ExitStack) -> None:
        host, _, port = where.rpartition(":")
        if not host or not port.isdecimal():
            raise UserError("--gpsd", f"{where!r} is no address", "give HOST:PORT")
        self.address = (host, int(port))
        self._rest = b""
        self._retry_at = 0.0
        self._socket: socket.socket | None = None
        try:
            self._open()
        except OSError as error:
            remedy = "start gpsd, or give --track"
            raise UserError("--gpsd", f"{where}: {error.strerror or error}", remedy,
                            exit_code=EXIT_FAILED) from error  # fmt: skip
        closing.callback(self.close)

    def _open(self) -> None:
        self._socket = socket.create_connection(self.address, timeout=3.0)
        self._socket.sendall(WATCH)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fixes(self) -> list[Any]:
        """Fixes that came since the last call."""
        if self._socket is None:
            if time.monotonic() < self._retry_at:
                return []
            self._retry_at = time.monotonic() + RETRY_S
            try:
                self._open()
            except OSError:
                return []
        *lines, self._rest = (self._rest + self._read()).split(b"\n")
        self._rest = self._rest[-LINE_MAX:]
        return [fix for line in lines if (fix := parse_gpsd(line)) is not None]

    def _read(self) -> bytes:
        found = b""
        with contextlib.suppress(BlockingIOError):
            while self._socket is not None:
                try:
                    part = self._socket.recv(1 << 16)
                except ConnectionError:
                    part = b""
                if not part:
                    self.close()
                found += part
        return found


class CaptureSource:
    """A capture, all at once; None after it."""

    def __init__(self, path: Path) -> None:
        from hotspot.radio.pcap import LINK_RADIOTAP, read_capture

        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError("--capture", f"{path}: {error.strerror}", "name a pcap file") from error
        self._packets = self._heard(read_capture(data), LINK_RADIOTAP)
        self._given = False

    def _heard(self, packets: Any, link: int) -> Iterator[tuple[Heard, int]]:
        for packet in packets:
            if isinstance(packet, Refusal):
                sys.stderr.write(f"wavecomb: --capture: {packet.detail}\n")
                continue
            found = parse_frame(packet.data) if packet.link_type == link else None
            if isinstance(found, Heard):
                yield found, packet.time_ns // 1_000_000

    def frames(self) -> list[tuple[Heard, int]] | None:
        """All frames the first time."""
        if self._given:
            return None
        self._given = True
        return list(self._packets)


class RadioSource:
    """A monitor-mode interface."""

    def __init__(self, interface: str, closing: contextlib.ExitStack) -> None:
        from hotspot.radio.io_radio import open_radio

        self._radio = open_radio("monitor", interface)
        closing.callback(self._radio.close)

    def frames(self) -> list[tuple[Heard, int]]:
        """Beacons that came since the last call, with the time now."""
        now_ms = _now_ms()
        found = (parse_frame(frame) for frame in self._radio.receive())
        return [(heard, now_ms) for heard in found if isinstance(heard, Heard)]
