"""A light radio for `bench.live`: the hotspot's own radio door, beacons at a pace, and stamps.

    python -m bench.live_injector INTERFACE NODE HZ SECONDS FILE

Prints `ready`, reads the start (ns since 1970) from its input, sends a frame in each period at a
drawn time, and notes for each frame it hears who sent it and when the kernel and this process had
it. At the end it writes FILE: one packed row for each frame sent, then one for each heard.
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from hotspot.carriers.bpf import FRAME_MAX_BYTES
from hotspot.radio.frame import Beacon, Heard, build_frame, pack_beacon, parse_frame
from hotspot.radio.io_radio import BATCH_FRAMES, MonitorRadio

SENT = struct.Struct("<IQ")  # sequence, ns since 1970 before `send`
HEARD = struct.Struct("<HIQQ")  # sender, sequence, ns at the kernel, ns at this process
LISTEN_ON_S = 2.0  # after the end, for what a busy machine sends late
_SO_TIMESTAMPNS = 35
_GOLDEN = 0x9E3779B97F4A7C15


class StampedRadio(MonitorRadio):
    """The shipping radio; each frame comes with the time at which the kernel had it."""

    def _prepare(self) -> None:
        super()._prepare()
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def receive_stamped(self) -> list[tuple[bytes, int]]:
        """Return frames that wait, each with its time in ns since 1970."""
        found = []
        try:
            for _ in range(BATCH_FRAMES):
                frame, extra, _, _ = self._socket.recvmsg(FRAME_MAX_BYTES, 64)
                seconds, rest_ns = struct.unpack("qq", extra[0][2])
                found.append((frame, seconds * 1_000_000_000 + rest_ns))
        except BlockingIOError:
            pass
        return found


def payload_of(node: int, sequence: int) -> bytes:
    """Return a payload of a beacon's size that names its sender and number; unsigned."""
    return pack_beacon(Beacon(node.to_bytes(32, "big"), 1, sequence, bytes(16), 0, 2437, 0, 0))


def source_of(node: int) -> bytes:
    """Return the address of a node; its last two bytes are its number."""
    return b"\x02\0\0\0" + node.to_bytes(2, "big")


def send_times_ns(node: int, hz: float, seconds: float, start_ns: int) -> list[int]:
    """When this node's frames are due: once in each period, at a time drawn for it."""
    period_ns = round(1e9 / hz)
    times = []
    for sequence in range(round(seconds * hz)):
        word = ((node << 32 | sequence) + 1) * _GOLDEN & (1 << 64) - 1
        word = (word ^ word >> 29) * _GOLDEN & (1 << 64) - 1
        times.append(start_ns + sequence * period_ns + (word >> 32) * period_ns // (1 << 32))
    return times


def run(
    radio: StampedRadio, node: int, times: list[int], stop_ns: int
) -> tuple[list[bytes], list[bytes], int]:
    """Send and listen; rows of what was sent and heard, and by how much a send was late at most."""
    frames = [build_frame(payload_of(node, n), source_of(node), n) for n in range(len(times))]
    sent: list[bytes] = []
    heard: list[bytes] = []
    late_ns = 0
    end_ns = stop_ns + round(LISTEN_ON_S * 1e9)
    with selectors.DefaultSelector() as selector:
        selector.register(radio, selectors.EVENT_READ)
        while (now_ns := time.time_ns()) < end_ns:
            due_ns = times[len(sent)] if len(sent) < len(times) else end_ns
            if now_ns >= due_ns:
                late_ns = max(late_ns, now_ns - due_ns)
                sequence = len(sent)
                sent.append(SENT.pack(sequence, time.time_ns()))
                radio.send(frames[sequence], 0)
                continue
            if selector.select((due_ns - now_ns) / 1e9):
                heard += listen(radio, node)
    return sent, heard, late_ns


def listen(radio: StampedRadio, node: int) -> list[bytes]:
    """Take in what was heard; the echo of one's own frame is not."""
    rows = []
    for data, kernel_ns in radio.receive_stamped():
        seen = parse_frame(data)
        if not isinstance(seen, Heard):
            continue
        sender = int.from_bytes(seen.source[4:], "big")
        sequence = int.from_bytes(seen.payload[38:42], "big")
        if sender != node:
            rows.append(HEARD.pack(sender, sequence, kernel_ns, time.time_ns()))
    return rows


def main() -> None:
    """Run one radio as the command line says."""
    interface, number, hz, seconds, path = sys.argv[1:]
    node = int(number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the group; the bench ends us
    radio = StampedRadio(interface)
    print("ready", flush=True)
    start_ns = int(sys.stdin.readline())
    times = send_times_ns(node, float(hz), float(seconds), start_ns)
    # Others send until then: who stops after its own last frame would miss theirs.
    stop_ns = start_ns + round(float(seconds) * 1e9)
    sent, heard, late_ns = run(radio, node, times, stop_ns)
    Path(path).write_bytes(b"".join(sent) + b"".join(heard))
    failed, dropped = radio.counts["send_failed"], radio.dropped()
    print(json.dumps({"sent": len(sent), "heard": len(heard), "send_failed": failed,
                      "dropped": dropped, "late_us": late_ns // 1000}))  # fmt: skip


if __name__ == "__main__":
    main()
