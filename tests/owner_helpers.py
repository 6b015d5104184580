"""A hotspot process on a replayed capture, beside a ledger of its own, for the owner's tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doors_helpers import ledger_service, make_ledger, run, started, wait_for
from node_helpers import Bench, received

from hotspot.radio.pcap import write_pcap


@dataclass
class Running:
    """A daemon: its folder, settings, log and the port of its page."""

    folder: Path
    config: Path
    log: Path
    port: int
    pid: int

    def get(self, path: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of a GET of its page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, dict(answer.getheaders())

    def status(self) -> dict[str, Any]:
        """What /json says now."""
        return dict(json.loads(self.get("/json")[1]))


def some_frames() -> bytes:
    """A capture of a beacon that nobody of this network knows."""
    bench = Bench()
    bench.run_until(3.9)
    return write_pcap([(0, received(bench.sent["a"][0].frame))])


def make_spot(folder: Path, url: str) -> Path:
    """Settings of a hotspot that replays a capture; its page takes any port."""
    where = ("--lat", "40.7", "--lon", "-74.0")
    done = run("hotspot", "init", "--dir", folder, *where, "--ledger", url)
    assert done.code == 0, done
    (folder / "air.pcap").write_bytes(some_frames())
    config = folder / "hotspot.toml"
    text = config.read_text().replace('"monitor"', '"replay"').replace(":8710", ":0")
    config.write_text(text.replace('"mon0"', f'"{folder / "air.pcap"}"'))
    return config


@contextlib.contextmanager
def running_hotspot(folder: Path, prefix: tuple[str, ...] = ()) -> Iterator[Running]:
    """A ledger and a hotspot that is registered there."""
    place = make_ledger(folder)
    with ledger_service(place) as (url, _):
        config = make_spot(folder / "spot", url)
        log = folder / "spot.log"
        with started(["hotspot", "run", "--config", config], log, prefix) as process:
            pattern = r"status page on http://127.0.0.1:(\d+)/"
            found = wait_for("the page", lambda: re.search(pattern, log.read_text()))
            spot = Running(config.parent, config, log, int(found[1]), process.pid)
            wait_for("registration", lambda: spot.status()["index"] >= 0, 30)
            yield spot
