"""A full disk: an error line, nothing acknowledged is lost, and work goes on when space returns.

Two ways to fill it: a limit on the size of files, for everybody, and a small file system of our own
in a private mount namespace, for root.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from doors_helpers import (
    ROOT,
    check_clear,
    environment,
    first_json,
    ledger_service,
    make_ledger,
    no_space,
    run,
    started,
    wait_for,
)

from chain.io_client import LedgerClient, LedgerUnavailable
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.records import Deposit
from chain.wire import seal
from hotspot.io_queue import DurableQueue

OWNER = public_key(b"o" * 32)
SIZE_KB = 1_500


class Limit:
    """Files of the running process can't grow any more."""

    prefix: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        self.path = self.outside = folder

    def fill(self, pid: int) -> None:
        largest = max(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, everything)


class SmallDisk:
    """A file system of its own, as seen from inside (`path`) and from here (`outside`)."""

    def __init__(self, folder: Path, holder: int) -> None:
        self.path = folder
        self.outside = Path(f"/proc/{holder}/root{folder}")
        self.prefix = ("nsenter", "-t", str(holder), "-m", "--")

    def fill(self, pid: int) -> None:
        with contextlib.suppress(OSError), (self.outside / "ballast").open("wb", 0) as ballast:
            while ballast.write(bytes(4_096)):
                pass

    def free(self, pid: int) -> None:
        (self.outside / "ballast").unlink()


Disk = Limit | SmallDisk


@pytest.fixture(params=["limit", pytest.param("tmpfs", marks=pytest.mark.root)])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "limit":
        yield Limit(folder)
        return
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    script = f"mount -t tmpfs -o size={SIZE_KB}k none {folder} && echo ready && exec sleep 300"
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("this machine's root may not mount a file system")
        yield SmallDisk(folder, holder.pid)
    finally:
        holder.kill()
        holder.communicate()


def payer(client: LedgerClient, place: Path) -> Callable[[int], bytes]:
    """The wires of deposits of one credit unit each, by number."""
    seed, network = load_seed(place / "operator.key"), client.head().network_id
    return lambda n: seal(Deposit(OWNER, 1, n.to_bytes(4), (0,)), network, [seed]).wire


def pay_until_full(client: LedgerClient, deposit: Callable[[int], bytes]) -> int:
    """Submit deposits until the ledger says that it can't save; how many it acknowledged."""
    for number in range(20_000):
        try:
            assert client.submit([deposit(number)])[0].accepted
        except LedgerUnavailable:
            return number
    raise AssertionError("the disk never filled")


def test_the_ledger_on_a_full_disk_keeps_its_word(disk: Disk, tmp_path: Path) -> None:
    place = make_ledger(tmp_path)
    shutil.copytree(place, disk.outside / "ledger")
    os.remove(place / "ledger.db")
    inside = disk.path / "ledger"
    with (
        ledger_service_at(inside, tmp_path, disk.prefix) as (url, pid),
        LedgerClient(url) as client,
    ):
        deposit = payer(client, place)
        assert client.submit([deposit(9_999_999)])[0].accepted
        disk.fill(pid)
        paid = pay_until_full(client, deposit)
        check_clear(
            run("chain", "deposit", "--dir", place, "--account", OWNER.hex(),
                "--amount-ucr", 7, "--reference", "ff", "--ledger", url),
            "ledger", "free space",
        )  # fmt: skip
        assert "free space" in client.get("/v1/head")["fault"]
        disk.free(pid)
        wait_for("the ledger's recovery", lambda: not client.get("/v1/head")["fault"])
        assert client.submit([deposit(paid)])[0].accepted, "what was refused may come again"
        with_late = client.account(OWNER).balance_ucr
        assert with_late - (paid + 2) in (0, 7), "the deposit of 7 was never promised"
    with (
        ledger_service_at(inside, tmp_path, disk.prefix) as (url, pid),
        LedgerClient(url) as client,
    ):
        assert client.account(OWNER).balance_ucr == with_late, "all of it was on the disk"
    audit = subprocess.run(
        [*disk.prefix, sys.executable, "-m", "wavecomb", "chain", "audit", inside / "ledger.db"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert audit.returncode == 0, audit


@contextlib.contextmanager
def ledger_service_at(place: Path, logs: Path, prefix: Sequence[str]) -> Iterator[tuple[str, int]]:
    """`wavecomb chain run`, perhaps on a disk that only it sees."""
    log = logs / "service.log"
    log.unlink(missing_ok=True)
    argv = ["chain", "run", "--dir", place, "--port", 0, "--json"]
    with started(argv, log, prefix) as process:
        url = wait_for("ledger", lambda: first_json(log, process))["urls"][0]
        yield url, process.pid


WRITER = """
import sys
from pathlib import Path
from chain.io_terminal import run_command
from hotspot.actions import KeepReceptions, SubmitRecord
from hotspot.io_queue import DurableQueue

def work(argv):
    queue = DurableQueue(Path(argv[0]))
    for n in range(100_000):
        wire = n.to_bytes(4, "big") * 500
        receptions = KeepReceptions(n, (n.to_bytes(14, "big"),))
        queue.store([(b"k" * 32, n, [receptions, SubmitRecord(wire)])])
        print(n, flush=True)
    return 0

sys.exit(run_command(work, sys.argv[1:]))
"""


def test_a_daemons_queue_on_a_full_disk_keeps_its_word(disk: Disk, tmp_path: Path) -> None:
    said, told = tmp_path / "said", tmp_path / "told"
    with said.open("wb") as out, told.open("wb") as err:
        child = subprocess.Popen(
            [*disk.prefix, sys.executable, "-c", WRITER, str(disk.path / "queue.db")],
            env=environment(),
            cwd=ROOT,
            stdout=out,
            stderr=err,
        )
    wait_for("the first batches", lambda: said.read_text().count("\n") >= 3)
    disk.fill(child.pid)
    assert child.wait(timeout=200) == 1
    assert told.read_text().startswith("wavecomb: queue: ")
    assert "free some space" in told.read_text()
    assert told.read_text().count("\n") == 1
    last = int(said.read_text().split()[-1])
    shutil.copytree(disk.outside, tmp_path / "copy", ignore=shutil.ignore_patterns("ballast"))
    queue = DurableQueue(tmp_path / "copy" / "queue.db")
    stored = [int.from_bytes(row.wire[:4], "big") for row in queue.undelivered()]
    assert stored == list(range(last + 1)), "what was stored is what was said, in order"
    queue.close()


@pytest.mark.parametrize("left_bytes", [0, 6_000, 30_000])
def test_commands_on_a_full_disk_fail_in_one_line(tmp_path: Path, left_bytes: int) -> None:
    full = no_space(left_bytes)
    check_clear(run("chain", "init", "--dir", tmp_path / "new", preexec=full))
    assert not (tmp_path / "new" / "ledger.db").exists(), "no half-made ledger"
    if left_bytes == 0:
        where = ("--lat", "40.7", "--lon", "-74.0")
        check_clear(run("hotspot", "init", "--dir", tmp_path / "spot", *where, preexec=full))
        assert run("hotspot", "init", "--dir", tmp_path / "spot", *where).code == 0


@pytest.mark.parametrize("left_bytes", [0, 100, 5_000, 20_000])
def test_a_daemon_that_starts_on_a_full_disk_says_so(tmp_path: Path, left_bytes: int) -> None:
    place = make_ledger(tmp_path)
    where = ("--lat", "40.7", "--lon", "-74.0")
    with ledger_service(place) as (url, _):
        done = run("hotspot", "init", "--dir", tmp_path / "spot", *where, "--ledger", url)
        assert done.code == 0, done
        config = tmp_path / "spot" / "hotspot.toml"
        config.write_text(config.read_text().replace('"monitor"', '"replay"'))
        full = no_space(left_bytes)
        check_clear(run("hotspot", "run", "--config", config, preexec=full), "queue")


def test_a_map_on_a_full_disk_goes_on_and_says_so(tmp_path: Path) -> None:
    place, data, log = make_ledger(tmp_path), tmp_path / "map", tmp_path / "map.log"
    with ledger_service(place) as (url, _), LedgerClient(url) as ledger:
        argv = ["map", "serve", "--ledger", url, "--port", 0, "--data", data, "--json"]
        with started(argv, log) as process:
            base = wait_for("map", lambda: first_json(log, process))["url"].rstrip("/")
            with LedgerClient(base) as map_:  # any HTTP service that answers in JSON objects
                seen = lambda: map_.get("/stats")["ledger"]  # noqa: E731
                wait_for("the map's first look", lambda: seen()["records"] >= 1)
                disk = Limit(data)
                disk.fill(process.pid)
                deposit = payer(ledger, place)
                for number in range(400):
                    assert ledger.submit([deposit(number)])[0].accepted
                    if number % 20 == 0 and seen()["state"] == "fault":
                        break
                wait_for("the map's fault", lambda: "--data" in seen()["detail"])
                disk.free(process.pid)
                count = ledger.head().record_count
                wait_for("the map's recovery", lambda: seen()["records"] == count)
                assert process.poll() is None
