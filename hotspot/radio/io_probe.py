"""Send test frames and gather what comes of them: echoes from the driver, answers of neighbours."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from chain.io_keys import load_seed
from chain.keys import public_key
from chain.records import Refusal
from hotspot.carriers.io_open import open_section
from hotspot.config import HotspotConfig
from hotspot.node import mac_of
from hotspot.radio.codec import Codec, get_codec
from hotspot.radio.io_radio import Radio
from hotspot.radio.probe import Confirmation, RadioTest, make_test, read_confirmation

PROBE_S = 1.2  # a neighbour looks at its radio each 0.2 s, and answers within 0.3 s more


class _Run:
    """One test: what was sent, and what came of it."""

    def __init__(self, own: bytes, codec: Codec) -> None:
        self._own, self._codec = own, codec
        self.tests: dict[bytes, int] = {}
        self.echoed: set[int] = set()
        self.confirmed: dict[tuple[bytes, int], Confirmation] = {}

    def take(self, frame: bytes) -> None:
        heard = self._codec.parse(frame)
        if isinstance(heard, Refusal):
            return
        if (number := self.tests.get(heard.payload)) is not None:
            self.echoed.add(number)
        elif (said := read_confirmation(heard, self.tests, self._own)) is not None:
            self.confirmed.setdefault((said.key, said.sequence), said)


def pick_codec(name: str | None) -> Codec:
    """The codec that was asked for; else scapy where it is installed."""
    if name is not None:
        return get_codec(name)
    try:
        return get_codec("scapy")
    except ModuleNotFoundError:
        return get_codec("fast")


def run_test(config: HotspotConfig, base: Path, count: int, codec: Codec) -> RadioTest:
    """Send `count` test frames by the radio of the settings. UserError where it can't be opened."""
    seed = load_seed(base / config.hotspot.key_file)
    radio = open_section(config.radio)
    try:
        return probe(radio, seed, config, count, codec, PROBE_S)
    finally:
        radio.close()


def probe(
    radio: Radio, seed: bytes, config: HotspotConfig, count: int, codec: Codec, wait_s: float
) -> RadioTest:
    """The same with a radio that is open."""
    key = public_key(seed)
    run = _Run(key, codec)
    cell, frequency_mhz = int(config.hotspot.cell, 16), config.radio.frequency_mhz
    for number in range(count):
        payload = make_test(seed, number, os.urandom(16), cell, frequency_mhz, time.time_ns())
        run.tests[payload] = number
        radio.send(codec.build(payload, mac_of(key), number), 0)
        _listen(radio, run, wait_s)
    refused = radio.counts["send_failed"]
    confirmed = tuple(run.confirmed[at] for at in sorted(run.confirmed))
    return RadioTest(count, count - refused, refused, len(run.echoed), confirmed)


def _listen(radio: Radio, run: _Run, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0:
        select.select([radio], [], [], left_s)
        for frame in radio.receive():
            run.take(frame)

