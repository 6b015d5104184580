"""The time as the queue keeps it: when it was last believed, and on which boot each epoch began."""

from __future__ import annotations

import json
from collections.abc import Callable

from chain.errors import UserError
from hotspot.clock import Timekeeper
from hotspot.io_machine import Machine
from hotspot.io_network import Network
from hotspot.io_queue import DurableQueue

SEEN_NS = 60_000_000_000


class Times:
    """Makes the keeper of the time from what an earlier run kept, and keeps it for the next."""

    def __init__(self, queue: DurableQueue, machine: Machine, network: Network) -> None:
        self._queue = queue
        self.boot_id = machine.boot_id()
        self._kept: list[object] = json.loads(queue.note("clock") or b'[0, "", 0]')
        self._kept_ns = -SEEN_NS  # when that was done last
        self._epoch = -1  # whose beginning is kept
        seen_ms, boot, offset_ns = self._kept
        self.clock = Timekeeper(
            machine.look_at_clocks(machine.is_synchronised()),
            epoch_ms=network.params.epoch_ms,
            start_ms=network.start_ms,
            seen_ms=seen_ms,
            seen_offset_ns=offset_ns if boot and boot == self.boot_id else None,
        )
        if network.epoch is not None:
            self.clock.note_ledger(network.epoch)

    def keep(self, epoch: int, boot_ns: int, note: Callable[[str, bytes], None]) -> str | None:
        """Once a minute the time, which tries the disk too; per epoch which boot of what clocks.

        What can't be written is tried again; the problem is returned.
        """
        doubt = self.clock.doubt()
        if boot_ns - self._kept_ns >= SEEN_NS:
            self._kept_ns = boot_ns
            if not doubt:
                wall_ms = self.clock.moment.wall_ns // 1_000_000
                self._kept = [wall_ms, self.boot_id, self.clock.offset_ns]
            note("clock", json.dumps(self._kept).encode())
        if epoch == self._epoch or doubt:
            return None
        try:
            self._queue.note_moment(epoch, self.boot_id, self.clock.moment)
        except UserError as error:
            return error.problem
        self._epoch = epoch
        return None
