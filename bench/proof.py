"""The cost of proof of coverage: `python -m bench.proof --json`; the last line is JSON.

reports_per_s_core        signed reports of 20 receptions checked: decoded, signature and hash chain
                          verified, taken into the ledger and its log, and every reception judged
closed_reports_per_s_core the same with all else that closing an epoch does: work, links, slopes,
                          mix, state root, header; everything per CPU second
pynacl_verifies_per_s_core  the same messages' signatures through PyNaCl alone, in turns with that:
                          250 messages at a time, and all of them again once they are judged, so
                          that whatever else the machine does slows down both alike
ratio                     of the two
receipts_per_s_core       receptions from a report's bytes to their verdicts, links and draw too
bytes_per_receipt         bytes of the records per reception, everything in a message shared out
vrf_verify_us             one cosigner's output checked

A street of hotspots 250 m apart; each hears five on either side, of their beacons any half, so that
some beacons have more candidates than are drawn. Every reception counts or is drawn out.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from hashlib import sha256
from itertools import count
from typing import Any

import h3
from nacl.bindings import crypto_sign_open

from bench.ledger_town import Clock
from chain import draws, ecvrf, keys, wire
from chain.geo import distance_m
from chain.io_collector import spare_state
from chain.io_terminal import Progress, print_json
from chain.ledger import Ledger
from chain.records import Deposit, EpochMessage, Genesis, Reception, Record, Refusal, Registration
from chain.rules.blocks import process_mix
from chain.rules.judging import get_steps
from chain.rules.pairs import PairCache
from chain.rules.verdicts import (
    PLAUSIBLE,
    get_judgement,
    get_reason_counts,
)

PRESET = "mainnet"
OPERATOR = sha256(b"bench operator").digest()
START_MS = 1_000_000_000
FIRST_EPOCH = 2
REACH = 5  # hotspots on either side that are heard
RECEPTIONS = 20
SEED_EVERY = 40
EIRP_CDBM, GAIN_CDB, FREQUENCY_MHZ = 2_000, 300, 2_437
VRF_ROUNDS = 200
# Epochs until nearly all pairs were heard once: their distances are known, as where hotspots stand.
WARM_UP = 3
TURNS = 2  # how often PyNaCl alone verifies each message
SLICE = 250  # messages that one side checks before it is the other's turn


class Street:
    """`count` hotspots, each with its own owner, registered on a ledger in memory."""

    def __init__(self, count: int, epochs: int) -> None:
        self.count = count
        self.keys = [sha256(b"proof hotspot %d" % n).digest() for n in range(count)]
        self.chains = [self._chain(n, epochs + 2) for n in range(count)]
        self.places = [self._place(n) for n in range(count)]
        seeds = tuple(keys.public_key(key) for key in self.keys[::SEED_EVERY])
        operator = keys.public_key(OPERATOR)
        genesis = wire.seal(
            Genesis("bench", PRESET, START_MS, (operator,), 1, seeds), b"", []
        )
        self.network_id = genesis.record_id
        self.ledger = Ledger(genesis)
        self.ledger.packs_rows = False
        self.params = self.ledger.params
        self._losses: dict[int, int] = {}
        self._join()
        self.heard: dict[int, list[bytes]] = {}

    def _chain(self, number: int, length: int) -> list[bytes]:
        links = [sha256(b"proof chain %d" % number).digest()]
        for _ in range(length):
            links.append(draws.chain_link(links[-1]))
        return links[::-1]

    def _place(self, number: int) -> tuple[int, int, int]:
        cell = h3.latlng_to_cell(45, 7 + 0.0032 * number, 10)
        latitude, longitude = h3.cell_to_latlng(cell)
        return int(cell, 16), round(latitude * 1e6), round(longitude * 1e6)

    def _seal(self, record: Record, *seeds: bytes) -> bytes:
        return wire.seal(record, self.network_id, seeds).wire

    def _join(self) -> None:
        wires = []
        for number, seed in enumerate(self.keys):
            key = keys.public_key(seed)
            wires.append(self._seal(Deposit(key, 1 << 30, b"%d" % number, (0,)), OPERATOR))
            radio = (10, GAIN_CDB, EIRP_CDBM, FREQUENCY_MHZ, 1)
            chain = (FIRST_EPOCH, len(self.chains[number]) - 1, self.chains[number][0])
            asserted = Registration(key, key, *self.places[number], *radio, *chain)
            wires.append(self._seal(asserted, seed, seed))
        self.take(wires)

    def take(self, wires: list[bytes]) -> None:
        """Submit; RuntimeError if one is refused: the bench would measure nothing."""
        for result in self.ledger.submit(wires, self.ledger.state.time_ms):
            if not result.accepted:
                raise RuntimeError(f"{result.reason}: {result.detail}")

    def secret(self, number: int, epoch: int) -> bytes:
        """x_e of a hotspot."""
        return self.chains[number][epoch - FIRST_EPOCH + 1]

    def _rssi(self, witness: int, beaconer: int) -> int:
        """At the end of a link that loses 33 dB a decade, in centi-dBm."""
        apart = distance_m(*self.places[witness][1:], *self.places[beaconer][1:])
        if (loss := self._losses.get(apart)) is None:
            loss = self._losses[apart] = round(4_500 + 3_300 * math.log10(apart / 10))
        return EIRP_CDBM + GAIN_CDB - loss

    def _beacons(self, number: int, epoch: int, mix: bytes) -> list[tuple[bytes, int]]:
        """(tag, power step in centi-dB) of a hotspot's beacons."""
        secret = self.secret(number, epoch)
        return [
            (
                draws.tag_of(draws.answer(secret, epoch, n)),
                100 * draws.power_step_db(secret, mix, n),
            )
            for n in range(self.params.beacons_per_epoch)
        ]

    def hear(self, epoch: int) -> None:
        """What everybody hears in an epoch: 20 of the beacons around."""
        mix = self.ledger.mix(epoch)
        assert mix is not None
        beacons = [self._beacons(n, epoch, mix) for n in range(self.count)]
        reports = []
        for witness in range(self.count):
            near = range(max(0, witness - REACH), min(self.count, witness + REACH + 1))
            every = [
                (heard, n)
                for heard in near
                for n in range(self.params.beacons_per_epoch)
                if heard != witness
            ]
            lots = [(sha256(b"%d %d %d %d" % (epoch, witness, *b)).digest(), b) for b in every]
            entries = [self._entry(witness, beacons, *b) for _, b in sorted(lots)[:RECEPTIONS]]
            reports.append(b"".join(sorted(entries)))
        self.heard[epoch] = reports

    def _entry(
        self, witness: int, beacons: list[list[tuple[bytes, int]]], heard: int, number: int
    ) -> bytes:
        """What a witness notes of one beacon."""
        tag, step_cdb = beacons[heard][number]
        rssi_cdbm = self._rssi(witness, heard) - step_cdb
        return wire.pack_reception(Reception(heard, number, 0, rssi_cdbm, FREQUENCY_MHZ, tag))

    def messages(self, epoch: int) -> list[bytes]:
        """Everybody's message for an epoch."""
        now, before = self.heard[epoch], self.heard.get(epoch - 1, [b""] * self.count)
        return [
            self._seal(
                EpochMessage(
                    *(n, epoch),
                    draws.commit(n, epoch, self.secret(n, epoch), now[n]),
                    *(before[n], self.secret(n, epoch - 1)),
                ),
                self.keys[n],
            )
            for n in range(self.count)
        ]

    def time_ms(self, epoch: int) -> int:
        """When an epoch begins."""
        return START_MS + epoch * self.params.epoch_ms


def raw_pairs(street: Street, wires: list[bytes]) -> list[tuple[bytes, bytes]]:
    """(signature and message, key): what PyNaCl verifies of these messages."""
    pairs = []
    for raw in wires:
        signed = wire.decode(raw)
        if isinstance(signed, Refusal) or not isinstance(signed.record, EpochMessage):
            raise RuntimeError("no epoch message")
        key = keys.public_key(street.keys[signed.record.hotspot])
        text = keys.signed_message(EpochMessage.NAME, street.network_id, signed.body)
        pairs.append((signed.signatures[0] + text, key))
    return pairs


def verify_alone(verified: list[tuple[bytes, bytes]], clock: Clock) -> None:
    """Verify through PyNaCl's own function; it raises for a signature that doesn't hold."""
    with clock:
        for text, key in verified:
            crypto_sign_open(text, key)


def submit_in_turns(
    street: Street,
    wires: list[bytes],
    verified: list[tuple[bytes, bytes]],
    ledger: Clock,
    raw: Clock,
) -> None:
    """An epoch's messages to the ledger and to PyNaCl, now the one first and now the other."""
    for number, at in enumerate(range(0, len(wires), SLICE)):
        if number % 2:
            verify_alone(verified[at : at + SLICE], raw)
        with ledger:
            street.take(wires[at : at + SLICE])
        if not number % 2:
            verify_alone(verified[at : at + SLICE], raw)


def measure_verdicts(street: Street, pairs: PairCache, clock: Clock) -> Counter[str]:
    """Judge the epoch before the open one, apart from the ledger; how often each verdict fell."""
    state = street.ledger.state
    process_mix(state)  # the close makes the same one again
    with clock:
        judgement = get_judgement(state, state.epoch - 1, pairs)
        steps = get_steps(judgement)
        steps.process_signals(judgement)
        steps.process_hearing(state, judgement)
        steps.get_mutual_links(judgement)
        steps.process_links(judgement, frozenset(range(street.count)))
        return get_reason_counts(judgement)


def measure(hotspots: int, epochs: int, note: Any) -> dict[str, Any]:
    """Epochs of reports through the ledger and through PyNaCl alone, in turns."""
    street, pairs = Street(hotspots, epochs + WARM_UP + 1), PairCache()
    spare_state()  # as `wavecomb chain run` does
    size = reports = judged = 0
    counts: Counter[str] = Counter()
    warm = FIRST_EPOCH + WARM_UP
    for epoch in range(FIRST_EPOCH, warm + epochs):
        street.ledger.tick(street.time_ms(epoch))
        street.hear(epoch)
        wires = street.messages(epoch)
        verified = raw_pairs(street, wires)
        if epoch <= warm:
            ledger, close, raw, verdicts = Clock(), Clock(), Clock(), Clock()
        submit_in_turns(street, wires, verified, ledger, raw)
        found = measure_verdicts(street, pairs, verdicts)
        verify_alone(verified, raw)
        with close:
            street.ledger.tick(street.time_ms(epoch + 1))
        if epoch >= warm:
            counts += found
            size, reports = size + sum(map(len, wires)), reports + len(wires)
            judged += sum(found.values())
        note()
    plausible = sum(n for reason, n in counts.items() if reason in PLAUSIBLE)
    if not judged == plausible == reports * RECEPTIONS:
        raise RuntimeError(f"honest receptions were refused: {dict(counts)}")
    checked_s = ledger.cpu_s + verdicts.cpu_s
    return {
        "reports_per_s_core": round(reports / checked_s),
        "closed_reports_per_s_core": round(reports / (ledger.cpu_s + close.cpu_s)),
        "pynacl_verifies_per_s_core": round(TURNS * reports / raw.cpu_s),
        "ratio": round(raw.cpu_s / TURNS / checked_s, 3),
        "submit_us": round(1e6 * ledger.cpu_s / reports, 1),
        "verdicts_us": round(1e6 * verdicts.cpu_s / reports, 1),
        "receipts_per_s_core": round(judged / verdicts.cpu_s),
        "bytes_per_receipt": round(size / judged, 2),
        "receipts": judged,
        "verdicts": dict(sorted(counts.items())),
    }


def measure_vrf() -> dict[str, Any]:
    """One output proven and checked, in microseconds."""
    seed, prove, check = sha256(b"cosigner").digest(), Clock(), Clock()
    key = keys.public_key(seed)
    for number in range(VRF_ROUNDS):
        alpha = sha256(b"%d" % number).digest()
        with prove:
            proof = ecvrf.compute_proof(seed, alpha)
        with check:
            if ecvrf.verify_proof(key, alpha, proof) is None:
                raise RuntimeError("a proof doesn't hold")
    return {
        "vrf_prove_us": round(1e6 * prove.cpu_s / VRF_ROUNDS),
        "vrf_verify_us": round(1e6 * check.cpu_s / VRF_ROUNDS),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=2_000, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    if not REACH < options.hotspots <= 10_000 or not 1 <= options.epochs <= 100:
        parser.error("--hotspots: 6 to 10000, --epochs: 1 to 100")
    progress, steps = Progress("proof", options.epochs + WARM_UP, quiet=options.json), count(1)
    result = measure(options.hotspots, options.epochs, lambda: progress.update(next(steps)))
    progress.close()
    print_json({**result, **measure_vrf(), "load_1m": round(os.getloadavg()[0], 2)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
