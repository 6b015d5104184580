"""What faults do to four validators: `python -m bench.byzantine --json`.

One network of four real engines on loopback, whose peers talk through links that can be cut and
slowed; a client sends deposits to all of them all the time. The faults come one after another:
a validator killed, two killed, one behind a broken network, one behind a slow one, and one that
votes twice (a second node with its key). After each: no two validators may have different
application hashes at a height, blocks go on as far as a third of faults allows, and whatever was
acknowledged to the client is in every ledger, once. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain import wire
from chain.admission import address_of
from chain.consensus.io_links import Links
from chain.consensus.io_testnet import Testnet
from chain.draws import u32
from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable
from chain.io_terminal import Progress
from chain.records import Deposit, Signed, ValidatorFault

EVERYBODY = range(4)
SLOW_S = 0.3
FAULT_WAIT_S = 90.0

Outcome = dict[str, Any]


class Traffic:
    """Sends a deposit every so often to one validator after another, and keeps what was taken."""

    def __init__(self, net: Testnet, pause_s: float = 0.1) -> None:
        self.net = net
        self.acknowledged: list[bytes] = []
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._pause_s):
            number += 1
            validator = self.net.validators[number % len(self.net.validators)]
            record = Deposit(bytes(32), 1, b"t" + u32(number), (0,))
            signed = wire.seal(record, self.net.genesis.record_id, [self.net.operator_seed])
            try:
                with LedgerClient(validator.url) as client:
                    (result,) = client.submit([signed.wire])
            except (LedgerUnavailable, LedgerRefused, KeyError):
                continue
            if result.accepted:
                self.acknowledged.append(result.record_id)


def read_log(net: Testnet, number: int) -> list[bytes]:
    """The ids of all records of a validator's ledger, in order."""
    ids: list[bytes] = []
    with net.validators[number].client() as client:
        while page := client.records(len(ids), 1_000):
            ids += [entry.id for entry in page]
    return ids


def settle(net: Testnet) -> int:
    """Wait until all have the same height for a moment; that height."""
    top = max(validator.height() for validator in net.validators)
    net.wait_height(top + 2, EVERYBODY, timeout_s=60)
    return top + 2


def check(net: Testnet, traffic: Traffic) -> Outcome:
    """What must hold after every fault."""
    taken = list(traffic.acknowledged)
    height = settle(net)
    logs = [read_log(net, number) for number in EVERYBODY]
    shortest = min(map(len, logs))
    return {
        "height": height,
        "forks": len(net.forks()),
        "same_log": all(log[:shortest] == logs[0][:shortest] for log in logs),
        "acknowledged": len(taken),
        "lost": sum(1 for log in logs if not set(taken) <= set(log)),
        "twice": sum(len(log) - len(set(log)) for log in logs),
    }


def is_sound(outcome: Outcome) -> bool:
    """No fork, nothing lost, nothing twice, and every other expectation of the case met."""
    zero = all(outcome[name] == 0 for name in ("forks", "lost", "twice"))
    return zero and outcome["same_log"] and outcome.get("as_expected", True)


def grew(net: Testnet, among: list[int], seconds: float) -> int:
    """By how many blocks these validators grew in so long."""
    before = max(net.validators[i].height() for i in among)
    time.sleep(seconds)
    return max(net.validators[i].height() for i in among) - before


def one_killed(net: Testnet, traffic: Traffic) -> Outcome:
    """One of four stops: the others go on; restarted, it catches up."""
    net.validators[3].kill()
    growth = grew(net, [0, 1, 2], 5.0)
    began = time.monotonic()
    net.validators[3].start()
    net.wait_height(net.validators[0].height(), EVERYBODY)
    caught_up_s = round(time.monotonic() - began, 1)
    return {
        "grew": growth,
        "caught_up_s": caught_up_s,
        "as_expected": growth > 0,
        **check(net, traffic),
    }


def two_killed(net: Testnet, traffic: Traffic) -> Outcome:
    """Two of four stop: nothing may be decided; restarted, all go on."""
    for number in (2, 3):
        net.validators[number].kill()
    time.sleep(1.0)  # a block that was decided may still be executed
    growth = grew(net, [0, 1], 4.0)
    began = time.monotonic()
    for number in (2, 3):
        net.validators[number].launch()
    for number in (2, 3):
        net.validators[number].wait_ready()
    net.wait_height(net.validators[0].height() + 1, EVERYBODY)
    back_s = round(time.monotonic() - began, 1)
    return {"grew": growth, "back_s": back_s, "as_expected": growth == 0, **check(net, traffic)}


def one_partitioned(net: Testnet, traffic: Traffic) -> Outcome:
    """One of four can't be reached: the others go on, it stands still; healed, it catches up."""
    net.cut(3)
    time.sleep(1.0)
    stood = net.validators[3].height()
    growth = grew(net, [0, 1, 2], 5.0)
    moved = net.validators[3].height() - stood
    began = time.monotonic()
    net.heal(3)
    net.wait_height(net.validators[0].height(), EVERYBODY)
    return {
        "grew": growth,
        "cut_off_grew": moved,
        "healed_s": round(time.monotonic() - began, 1),
        "as_expected": growth > 0 and moved == 0,
        **check(net, traffic),
    }


def half_partitioned(net: Testnet, traffic: Traffic) -> Outcome:
    """Two and two are cut from each other: nobody may decide anything; healed, all go on."""
    between = [net.link(a, b) for a in (2, 3) for b in (0, 1)]
    for link in between:
        link.cut()
    time.sleep(1.5)
    growth = grew(net, [0, 1, 2, 3], 4.0)
    began = time.monotonic()
    for link in between:
        link.heal()
    net.wait_height(net.validators[0].height() + 1, EVERYBODY)
    return {
        "grew": growth,
        "healed_s": round(time.monotonic() - began, 1),
        "as_expected": growth == 0,
        **check(net, traffic),
    }


def one_slow(net: Testnet, traffic: Traffic) -> Outcome:
    """Everything to and from one of four takes 300 ms longer: all go on."""
    net.slow(3, SLOW_S)
    growth = grew(net, [0, 1, 2], 6.0)
    found = check(net, traffic)
    net.slow(3, 0.0)
    return {"grew": growth, "as_expected": growth > 0, **found}


def one_equivocating(net: Testnet, traffic: Traffic) -> Outcome:
    """A second node votes with a validator's key: the fault is on the ledger, the power is gone."""
    began = time.monotonic()
    net.add_twin(3).start()
    address = address_of(net.validators[3].home.validator_key())
    while not (found := find_faults(net)) and time.monotonic() - began < FAULT_WAIT_S:
        time.sleep(0.5)
    found_s = round(time.monotonic() - began, 1)
    height = max(net.validators[i].height() for i in (0, 1, 2))
    net.wait_height(height + 4, [0, 1, 2])
    listed = net.validators[0].ask_engine("validators")["validators"]
    left = {member["address"].lower() for member in listed}
    outcome = {
        "found_s": found_s,
        "kind": found[0].kind if found else 0,
        "validators_left": len(left),
        "as_expected": {fault.validator for fault in found} == {address}
        and len(left) == 3
        and address.hex() not in left,
    }
    return {**outcome, **check(net, traffic)}


def find_faults(net: Testnet) -> list[ValidatorFault]:
    """The validator faults on the first validator's ledger."""
    faults = []
    for entry in _entries(net):
        if entry.startswith(bytes((0x84, ValidatorFault.TYPE))):
            decoded = wire.decode(entry)
            if isinstance(decoded, Signed) and isinstance(decoded.record, ValidatorFault):
                faults.append(decoded.record)
    return faults


def _entries(net: Testnet) -> list[bytes]:
    wires: list[bytes] = []
    with net.validators[0].client() as client:
        while page := client.records(len(wires), 1_000):
            wires += [entry.wire for entry in page]
    return wires


CASES: dict[str, Callable[[Testnet, Traffic], Outcome]] = {
    "one_killed": one_killed,
    "two_killed": two_killed,
    "one_partitioned": one_partitioned,
    "half_partitioned": half_partitioned,
    "one_slow": one_slow,
    "one_equivocating": one_equivocating,  # last: three validators are left after it
}


def run_cases(folder: Path, names: list[str], quiet: bool = True) -> dict[str, Outcome]:
    """Run cases in order on one network; the outcome of each, with `ok`."""
    outcomes: dict[str, Outcome] = {}
    progress = Progress("faults", len(names), quiet=quiet)
    with Links() as links, Testnet(folder, links=links) as net:
        net.start()
        net.wait_height(2, EVERYBODY)
        with Traffic(net) as traffic:
            for done, name in enumerate(names):
                progress.update(done, name)
                outcome = CASES[name](net, traffic)
                outcomes[name] = {"ok": is_sound(outcome), **outcome}
    progress.close()
    return outcomes


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only this one")
    parser.add_argument("--rounds", type=int, default=1, help="so many networks, one after another")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    names = [name for name in CASES if name in (options.case or CASES)]
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="wavecomb-byzantine-") as folder:
            rounds.append(run_cases(Path(folder), names, options.json))
    ok = all(outcome["ok"] for outcomes in rounds for outcome in outcomes.values())
    print(json.dumps({"ok": ok, "rounds": rounds}, sort_keys=True))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
