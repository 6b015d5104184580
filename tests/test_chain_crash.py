from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from chain.io_audit import audit
from chain.io_ledger import DATABASE, now_ms
from chain.io_store import Store
from chain.ledger import Sealed

from .chain_helpers import OPERATOR, Town

ROOT = Path(__file__).resolve().parent.parent
KILLS = 20

CHILD = """
import sys
from pathlib import Path
from chain import wire
from chain.draws import u32
from chain.io_ledger import DurableLedger, now_ms
from chain.records import Deposit
sys.stdin.readline()
durable = DurableLedger.open(Path(sys.argv[1]))
start = durable.ledger.log.size
for number in range(start, start + 100_000):
    record = Deposit(bytes(32), 1, u32(number), (0,))
    signed = wire.seal(record, durable.ledger.network_id, [bytes.fromhex(sys.argv[2])])
    (result,) = durable.submit([signed.wire], now_ms())
    print(result.record_id.hex() if result.accepted else result.detail, flush=True)
"""


def start_writer(folder: Path) -> subprocess.Popen[str]:
    """A sequencer that waits for a line and then writes deposits and prints what is durable."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), OPERATOR.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )


def kill_while_writing(writer: subprocess.Popen[str], acknowledgements: int) -> list[bytes]:
    """Let it go, kill it after so many acknowledgements; the whole lines that it got out."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("go\n")
    writer.stdin.close()
    lines = [writer.stdout.readline() for _ in range(acknowledgements)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()
    return [bytes.fromhex(line) for line in lines if line.endswith("\n")]


def test_nothing_acknowledged_is_lost_when_the_process_is_killed_twenty_times(
    tmp_path: Path,
) -> None:
    blocks: list[Sealed] = []
    Town(1, on_block=blocks.append, start_ms=now_ms())
    store = Store.create(str(tmp_path / DATABASE))
    store.append(blocks)
    store.close()
    acknowledged: list[bytes] = []
    following = start_writer(tmp_path)
    for number in range(KILLS):  # the next one starts up while this one writes
        writer, following = following, start_writer(tmp_path)
        acknowledged += kill_while_writing(writer, 1 + number % 5)
    following.kill()
    following.communicate()
    store = Store.open(tmp_path / DATABASE)
    kept = [row["id"] for row in store.rows("SELECT id FROM records ORDER BY seq")]
    store.close()
    assert len(acknowledged) >= KILLS
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))
    assert audit(tmp_path / DATABASE).ok
