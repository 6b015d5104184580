"""The hotspot daemon's weight and pace: `python -m bench.hotspot --json` (root).

`wavecomb hotspot run` as shipped stands in a network namespace with a TAP device as its radio, and
a ledger of its own. This process is the air:

    rss_idle_mib          resident memory of the registered daemon on a silent channel
    rss_load_mib          the same while 20,000 frames of strangers a second go by
    cpu_share_3000        share of one core at 3,000 frames/s of strangers and 60 beacons/s whose
                          signatures are checked; CPU time of the process, so others don't matter
    frames_per_s_no_loss  the highest of the rates offered, ours among them 60/s, at which each of
                          ours was counted and the kernel's drop counter stood still
    exec_to_beacon_ms     from exec to the first beacon on the air, median: the process is started
                          when its beacon of the epoch is overdue, so that it leaves at once

Rates are those really offered: on a busy machine the air is slower than asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chain.draws import slot_ms
from chain.errors import EXIT_OK, UserError
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.io_terminal import Parser, Progress, print_json, run_command
from chain.keys import public_key, sign
from chain.params import PRESETS
from hotspot.radio.frame import SIGNED_BYTES, Beacon, build_frame, pack_beacon
from hotspot.secrets import SecretChain
from radio_sim.live import io_tap

PRESET = "minimal"
RATES = (10_000, 20_000, 50_000, 75_000, 100_000)
OURS_PER_S = 60
SLICE_S = 0.005
OURS = ("bad_signature", "too_late", "other_epoch", "unknown_key", "repeat", "heard")
RADIOTAP = bytes.fromhex("00000f002a00000000008509a000c4")  # flags, channel, signal
STRANGER = (
    RADIOTAP
    + bytes.fromhex("80000000ffffffffffff0200000000010200000000010000")  # an access point's beacon
    + bytes(60)
)
TICKS = os.sysconf("SC_CLK_TCK")


class Bench:
    """A ledger and a hotspot in a namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.params = PRESETS[PRESET]
        self.name = io_tap.radio_name(0)
        self.spot = folder / "spot"
        self.socket = folder / "ledger.sock"
        self.daemon: subprocess.Popen[bytes] | None = None
        self._number = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Everything up, and torn down at the end."""
        place = self.folder / "ledger"
        command = [sys.executable, "-m", "wavecomb", "chain"]
        subprocess.run(
            [*command, "init", "--dir", place, "--preset", PRESET], check=True, capture_output=True
        )
        log = (self.folder / "log").open("wb")
        service = [*command, "run", "--dir", str(place), "--unix", str(self.socket)]
        ledger = subprocess.Popen(service, stdout=log, stderr=log)
        self.tap = io_tap.open_radio_tap(self.name)
        try:
            self.client = LedgerClient(f"unix:{self.socket}")
            wait_for("the ledger", self.client.head)
            self._write_settings()
            yield
        finally:
            self.stop()
            ledger.terminate()
            ledger.wait(timeout=20)
            self.tap.close()
            io_tap.remove_namespace(self.name)
            log.close()

    def _write_settings(self) -> None:
        """Two folders as `init` makes them: the daemon's, and a neighbour's that only registers."""
        for folder, latitude in ((self.spot, "40.70"), (self.folder / "peer", "40.71")):
            where = ["--lat", latitude, "--lon", "-74.0", "--interface", self.name]
            self._say("init", "--dir", folder, *where, "--ledger", f"unix:{self.socket}")
        self._say("register", "--config", self.folder / "peer" / "hotspot.toml")
        self._peer_seed = load_seed(self.folder / "peer" / "hotspot.key")
        self.peer = public_key(self._peer_seed)

    def _say(self, *words: object) -> None:
        command = [sys.executable, "-m", "wavecomb", "hotspot", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError("bench.hotspot", done.stderr.strip(), f"mend {words[0]}")

    def start(self) -> float:
        """Start the daemon; return when (monotonic)."""
        command = [sys.executable, "-m", "wavecomb", "hotspot", "run"]
        log = (self.folder / "spot.log").open("ab")
        with io_tap.inside(self.name):
            began_s = time.monotonic()
            config = str(self.spot / "hotspot.toml")
            self.daemon = subprocess.Popen([*command, "--config", config], stdout=log, stderr=log)
        log.close()
        return began_s

    def stop(self) -> None:
        """Stop the daemon and take what it sent off the device."""
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(timeout=20)
            self.daemon = None
        while self.tap.read() is not None:
            pass

    def status(self) -> dict[str, Any]:
        """What the daemon last wrote."""
        return dict(json.loads((self.spot / "status.json").read_text()))

    def settled(self) -> dict[str, Any]:
        """A status written from now on."""
        asked_ms = time.time_ns() // 1_000_000
        return dict(wait_for("a status", lambda: newer(self.status(), asked_ms)))

    def rss_mib(self) -> float:
        """Resident memory of the daemon."""
        text = Path(f"/proc/{self._pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
        return round(int(line.split()[1]) / 1024, 1)

    def cpu_s(self) -> float:
        """CPU time that the daemon has used, its threads and the kernel for it."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def _pid(self) -> int:
        if self.daemon is None:
            raise UserError("bench.hotspot", "the daemon isn't running", "see spot.log")
        return self.daemon.pid

    def _payload(self, epoch: int) -> bytes:
        """A beacon of the neighbour with an empty signature; no two are equal."""
        self._number += 1
        return pack_beacon(Beacon(self.peer, epoch, 0, bytes(16), 0, 2437, 1, self._number))

    def _framed(self, payload: bytes) -> bytes:
        built = build_frame(payload, b"\x02" + bytes(5), self._number % 4096)
        return RADIOTAP + built[12:]

    def introduce(self) -> None:
        """Have the daemon hear the neighbour properly once, so that it asks who that is."""
        head = self.client.head()
        said = self._payload(head.epoch)[:SIGNED_BYTES]
        signature = sign(self._peer_seed, "beacon", head.network_id, said)
        while not self.tap.write(self._framed(said + signature)):
            time.sleep(SLICE_S)
        time.sleep(1.0)

    def ours(self, count: int) -> list[bytes]:
        """Beacons of a registered key, each different, with signatures that are checked in vain."""
        epoch = self.client.head().epoch
        return [self._framed(self._payload(epoch)) for _ in range(count)]

    def blow(self, rate: int, seconds: float) -> tuple[float, int]:
        """Send so many frames a second, `OURS_PER_S` of them ours; (rate reached, ours sent)."""
        ours = self.ours(int(OURS_PER_S * seconds))
        sent = written = 0
        began_s = now_s = time.monotonic()
        while now_s - began_s < seconds:
            for _ in range(max(0, int((now_s - began_s) * rate) - written)):
                due = int((time.monotonic() - began_s) * OURS_PER_S)
                mine = sent < min(due, len(ours))
                done = self.tap.write(ours[sent] if mine else STRANGER)
                sent += mine and done
                written += done
                if time.monotonic() - began_s > seconds:
                    break
            time.sleep(SLICE_S / 5)
            now_s = time.monotonic()
        return written / (time.monotonic() - began_s), sent

    def register(self) -> None:
        """Start the daemon and wait until it is registered."""
        self.start()
        wait_for("registration", lambda: self.status()["index"] >= 0, 60)


def newer(status: dict[str, Any], than_ms: int) -> dict[str, Any] | None:
    """The status, if it was written later."""
    return status if status["at_ms"] > than_ms else None


def wait_for(what: str, ready: Any, seconds: float = 30.0) -> Any:
    """What `ready` returns once that is true; UserError where it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if value := ready():
                return value
        time.sleep(0.05)
    raise UserError("bench.hotspot", f"{what}: not within {seconds} s", "see the logs with --dir")


def counted(status: dict[str, Any]) -> int:
    """Frames of ours that the daemon read, whatever it thought of them."""
    return sum(status["counts"].get(name, 0) for name in OURS)


def no_loss(bench: Bench, seconds: float) -> tuple[int, list[dict[str, Any]]]:
    """The highest rate at which all of ours were counted, and each rate's account."""
    rows, best = [], 0
    for rate in RATES:
        before = bench.settled()
        reached, sent = bench.blow(rate, seconds)
        after = bench.settled()
        read = counted(after) - counted(before)
        dropped = after["radio_counts"]["dropped"] - before["radio_counts"]["dropped"]
        rows.append({"asked": rate, "offered": round(reached), "ours": sent, "read": read,
                     "kernel_dropped": dropped})  # fmt: skip
        if read == sent and not dropped:
            best = max(best, round(reached))
    return best, rows


def share_at(bench: Bench, rate: int, seconds: float) -> float:
    """CPU share of one core while so many frames a second go by."""
    used, began_s = bench.cpu_s(), time.monotonic()
    bench.blow(rate, seconds)
    return (bench.cpu_s() - used) / (time.monotonic() - began_s)


def exec_to_beacon_ms(bench: Bench, runs: int) -> list[float]:
    """From exec to a beacon on the air, for starts at which the beacon is overdue."""
    seed = load_seed(bench.spot / "hotspot.key")
    with contextlib.closing(sqlite3.connect(bench.spot / "queue.db")) as db:
        (kept,) = db.execute("SELECT value FROM notes WHERE name = 'chain'").fetchone()
    chain = SecretChain(seed, *json.loads(kept))
    start_ms = bench.client.head().start_ms
    times: list[float] = []
    while len(times) < runs:
        bench.stop()
        wait_for_overdue(bench, chain, start_ms)
        began_s = bench.start()
        while bench.tap.read() is None:
            if time.monotonic() - began_s > bench.params.epoch_ms / 1e3:
                raise UserError("bench.hotspot", "no beacon within an epoch", "see spot.log")
            time.sleep(0.0005)
        times.append((time.monotonic() - began_s) * 1e3)
    return times


def wait_for_overdue(bench: Bench, chain: SecretChain, start_ms: int) -> None:
    """Wait for a moment after this epoch's slot, with time left in its part."""
    params = bench.params
    last_ms = params.epoch_ms - params.message_lead_ms - 1_500
    while True:
        now_ms = time.time_ns() // 1_000_000 - start_ms
        epoch, in_epoch_ms = divmod(now_ms, params.epoch_ms)
        mix = bench.client.mix(epoch)
        may = mix is not None and chain.covers(epoch) and in_epoch_ms < last_ms
        if may and mix and slot_ms(params, chain.link(epoch), mix, 0) < in_epoch_ms:
            return
        time.sleep(0.1)


def measure(options: Any, folder: Path) -> dict[str, Any]:
    """All figures."""
    bench = Bench(folder)
    bar = Progress("hotspot", 5, quiet=options.json)
    with bench.running():
        bench.register()
        wait_for("binding", lambda: bench.status()["state"]["name"] == "BEACON", 60)
        bench.introduce()
        bar.update(1, "idle")
        time.sleep(options.seconds)
        idle = bench.rss_mib()
        bar.update(2, "3,000 frames/s")
        bench.settled()
        share = share_at(bench, 3_000, options.seconds)
        bar.update(3, "load")
        bench.blow(20_000, options.seconds)
        load = bench.rss_mib()
        best, rows = no_loss(bench, options.seconds)
        bar.update(4, "starts")
        starts = exec_to_beacon_ms(bench, options.starts)
        bar.close()
    return {
        "rss_idle_mib": idle,
        "rss_load_mib": load,
        "exec_to_beacon_ms": round(statistics.median(starts)),
        "exec_to_beacon_ms_all": [round(value) for value in starts],
        "cpu_share_3000": round(share, 4),
        "frames_per_s_no_loss": best,
        "rates": rows,
        "load_average": round(os.getloadavg()[0], 1),
    }


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    examples = "\n  python -m bench.hotspot --json\n"
    parser = Parser(prog="python -m bench.hotspot", description=__doc__, examples=examples)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (10)")
    parser.add_argument("--starts", type=int, default=5, help="starts that are timed (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    if not 1 <= options.seconds <= 600 or not 1 <= options.starts <= 100:
        raise UserError("--seconds, --starts", "out of range", "use 1 to 600, and 1 to 100")
    io_tap.check_permission()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    print_json(result) if options.json else print(json.dumps(result, indent=2))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
