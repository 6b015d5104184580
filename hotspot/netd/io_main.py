"""hotspot-netd: the one process of a hotspot that may change the network (CAP_NET_ADMIN).

One loop over a Unix socket with four verbs (netd_protocol.py), a UDP socket to the neighbours
(netd_links.py) and the kernel's link events. Whatever happens, the state that the kernel should
have is computed anew (netd.py), compared with what it has, and the difference carried out.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, UserError
from hotspot.io_system import Supervisor
from hotspot.netd.asking import MS, Ping
from hotspot.netd.io_kernel import Kernel
from hotspot.netd.links import DATAGRAM_MAX, PORT, Outgoing
from hotspot.netd.plans import Netd, Settings
from hotspot.netd.protocol import (
    LENGTH,
    MESSAGE_MAX,
    Apply,
    Frame,
    Power,
    Read,
    encode,
    parse_request,
    refusal,
)
from routing.kernel.desired import Neighbour
from routing.kernel.state import KernelState, Marking, compute_operations

GROUP = "ff02::5743"
_NETLINK_ROUTE, _GROUP_LINK = 0, 1
_CONTROL_TRAFFIC_CLASS = 0xC0  # CS6: queued with the mesh protocol's own packets
CLIENTS_MAX = 16
CALL_NS = 5_000 * MS
RECONCILE_NS = 30_000 * MS
RETRY_NS = 1_000 * MS
WATCHDOG_NS = 10_000 * MS
_CREDENTIALS = struct.Struct("iII")
# ICMPv6: type, code, checksum, identifier (the last two are the kernel's), sequence; our number.
_ECHO = struct.Struct(">BBHHHI")
_ECHO_REQUEST, _ECHO_REPLY = 128, 129


class _Client:
    """A caller and the part of its message that has come."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.data = b""
        self.since_ns = 0


class Daemon:
    """The loop. `run` returns after SIGTERM or SIGINT; the kernel is left as it is then."""

    def __init__(
        self, settings: Settings, path: Path, users: Iterable[str], kernel: Kernel
    ) -> None:
        self._settings, self._path, self._kernel = settings, path, kernel
        self._users = _user_ids(users)
        # Later starts have larger numbers: the wall clock, so that a reboot counts too.
        self.netd = Netd(settings, time.time_ns() // MS)
        self._have: KernelState | None = None
        self._carried = -1
        self._retry_ns = self._reconcile_ns = self._watchdog_ns = 0
        self._last: dict[str, Any] = {"operations": 0, "took_us": 0, "error": None}
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._index: dict[int, str] = {}
        self._carrier: dict[str, bool] = {}
        self._mtu: dict[str, int] = {}
        self._supervisor = Supervisor()
        self._stop = False
        self._echo: socket.socket | None = None

    # --- the loop ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Open all sockets; UserError for what is in the way."""
        self._listener = _listen(self._path)
        self._mesh = _mesh_socket()
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._events.bind((0, _GROUP_LINK))
        self._wake, other = socket.socketpair()
        for door in (self._listener, self._mesh, self._events, self._wake, other):
            door.setblocking(False)
        signal.set_wakeup_fd(other.fileno())
        self._other = other
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._register(self._listener, self._accept)
        self._register(self._mesh, self._hear)
        self._register(self._events, self._on_link_event)
        self._register(self._wake, self._on_wake)
        self._look_at_devices()

    def _register(self, door: socket.socket, act: Callable[[], None]) -> None:
        self._selector.register(door, selectors.EVENT_READ, act)

    def prepare(self) -> list[str]:
        """Set the switches that forwarding needs; what could not be set."""
        seed = int.from_bytes(os.urandom(3), "big") + 1
        failed = self._kernel.prepare(self._settings.place.mesh, seed)
        self._echo = _echo_socket()
        if self._echo is None:
            return [*failed, "echoes to neighbours"]
        self._register(self._echo, self._hear_echoes)
        self.netd.can_ask = True
        return failed

    def run(self) -> None:
        """Work until told to stop."""
        self._supervisor.say("READY=1")
        while not self._stop:
            now_ns = time.monotonic_ns()
            due_ns = min(self.netd.next_ns(now_ns), self._reconcile_ns)
            for key, _ in self._selector.select(max(0, due_ns - now_ns) / 1e9):
                key.data()
            # What has come is read before anybody is declared dead.
            now_ns = time.monotonic_ns()
            self._send(self.netd.tick(now_ns))
            self._ask(self.netd.ask(now_ns))
            self._carry_out(now_ns)
            self._drop_slow_callers(now_ns)
            if now_ns >= self._watchdog_ns:
                self._watchdog_ns = now_ns + WATCHDOG_NS
                self._supervisor.say("WATCHDOG=1")

    def close(self) -> None:
        """Close everything; our part of the kernel stays, and expires if we don't come back."""
        self._supervisor.say("STOPPING=1")
        signal.set_wakeup_fd(-1)
        for client in self._clients.values():
            client.connection.close()
        for door in (self._listener, self._mesh, self._events, self._wake, self._other):
            door.close()
        if self._echo is not None:
            self._echo.close()
        self._path.unlink(missing_ok=True)
        self._supervisor.close()
        self._kernel.close()

    def _on_signal(self, *_: object) -> None:
        self._stop = True

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(64)

    # --- the kernel -------------------------------------------------------------------------------

    def _carry_out(self, now_ns: int) -> None:
        """Bring the kernel to where it should be, if that may have changed or something failed."""
        changes = self.netd.changes
        due = now_ns >= self._reconcile_ns
        if changes == self._carried and not due and not (self._retry_ns <= now_ns and self._failed):
            return
        started = time.perf_counter_ns()
        if due or self._have is None:
            self._have = self._kernel.read(self._settings.place.access)
            self._reconcile_ns = now_ns + RECONCILE_NS
        want = self.netd.wanted(self._neighbour)
        if self.netd.keeps_addresses:
            want = replace(want, addresses=self._have.addresses)
        operations, error = compute_operations(self._have, want), None
        for operation in operations:
            try:
                self._kernel.carry_out(operation)
            except OSError as refused:
                error = error or f"{operation.kind}: {refused.strerror or refused}"
        self._carried = changes
        # After a failure nobody knows what is there: it is read again.
        self._have = None if error else want
        self._retry_ns = now_ns + RETRY_NS
        if operations:
            took_us = (time.perf_counter_ns() - started) // 1000
            self._last |= {"operations": len(operations), "took_us": took_us}
        self._last["error"] = error

    def _neighbour(self, device: str, address: str) -> Neighbour:
        return Neighbour(device, address, self._mtu.get(device, 1500))

    @property
    def _failed(self) -> bool:
        return self._last["error"] is not None

    def _on_link_event(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._events.recv(1 << 16)
        self._look_at_devices()

    def _look_at_devices(self) -> None:
        """Join the group on devices that came; bury everybody on those that lost their carrier."""
        mesh = self._settings.place.mesh
        links = self._kernel.links()
        carrier = {device: device in links and links[device].has_carrier for device in mesh}
        index = {links[device].index: device for device in mesh if device in links}
        self._mtu = {device: link.mtu for device, link in links.items()}
        for number in index.keys() - self._index.keys():
            group = socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", number)
            with contextlib.suppress(OSError):
                self._mesh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        self._index = index
        for device in mesh:
            if self._carrier.get(device, True) and not carrier[device]:
                self._send(self.netd.lose_device(device, time.monotonic_ns()))
        self._carrier = carrier

    # --- neighbours -------------------------------------------------------------------------------

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (address, _, _, scope) = self._mesh.recvfrom(DATAGRAM_MAX + 1)
                device = self._index.get(scope, "")
                source = address.partition("%")[0]
                self._send(self.netd.receive(data, device, source, time.monotonic_ns()))

    def _send(self, datagrams: list[Outgoing]) -> None:
        numbers = {device: number for number, device in self._index.items()}
        for one in datagrams:
            number = numbers.get(one.device)
            if number is not None:
                with contextlib.suppress(OSError):  # a device that is down; its silence will tell
                    self._mesh.sendto(one.data, (GROUP, PORT, 0, number))

    def _ask(self, pings: list[Ping]) -> None:
        numbers = {device: number for number, device in self._index.items()}
        for ping in pings:
            request = _ECHO.pack(_ECHO_REQUEST, 0, 0, 0, ping.number & 0xFFFF, ping.number)
            to = (ping.address, 0, 0, numbers.get(ping.device, 0))
            with contextlib.suppress(OSError):
                if self._echo is not None:
                    self._echo.sendto(request, to)

    def _hear_echoes(self) -> None:
        with contextlib.suppress(OSError):  # nothing more, or a refusal by way of ICMP
            while self._echo is not None:
                data, (address, _, _, scope) = self._echo.recvfrom(64)
                if len(data) == _ECHO.size and data[0] == _ECHO_REPLY:
                    device, host = self._index.get(scope, ""), address.partition("%")[0]
                    number = _ECHO.unpack(data)[5]
                    self.netd.take_answer(device, host, number, time.monotonic_ns())

    # --- callers ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)
        if uid not in self._users or len(self._clients) >= CLIENTS_MAX:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        client.since_ns = time.monotonic_ns()
        self._clients[connection.fileno()] = client
        self._register(connection, lambda: self._listen_to(client))

    def _listen_to(self, client: _Client) -> None:
        try:
            part = client.connection.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        client.data += part
        # Whoever isn't read by its caller, or sends nonsense, is let go.
        if not part or not self._answer_all(client):
            self._hang_up(client)

    def _answer_all(self, client: _Client) -> bool:
        while len(client.data) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(client.data)
            if length > MESSAGE_MAX:
                return False
            if len(client.data) < LENGTH.size + length:
                return True
            body = client.data[LENGTH.size : LENGTH.size + length]
            client.data = client.data[LENGTH.size + length :]
            client.since_ns = time.monotonic_ns()
            if not self._reply(client.connection, encode(self._answer(body))):
                return False
        return True

    def _reply(self, connection: socket.socket, data: bytes) -> bool:
        connection.settimeout(0.2)  # a caller that doesn't read must not hold us up
        try:
            connection.sendall(data)
        except OSError:
            return False
        connection.setblocking(False)
        return True

    def _hang_up(self, client: _Client) -> None:
        self._selector.unregister(client.connection)
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()

    def _drop_slow_callers(self, now_ns: int) -> None:
        for client in list(self._clients.values()):
            if client.data and now_ns - client.since_ns > CALL_NS:
                self._hang_up(client)

    def _answer(self, body: bytes) -> dict[str, Any]:
        try:
            request = parse_request(body)
            if isinstance(request, Apply):
                return self._apply(request)
            if isinstance(request, Read):
                return {"ok": True, request.what: self._read(request)}
            return self._radio(request)
        except UserError as error:
            return refusal(error)

    def _apply(self, request: Apply) -> dict[str, Any]:
        now_ns = time.monotonic_ns()
        self.netd.apply(request.plan, now_ns)
        self._send(self.netd.tick(now_ns))
        self._carry_out(now_ns)
        if self._failed:
            raise UserError("kernel", str(self._last["error"]), "see: wavecomb hotspot netd show")
        return {"ok": True, **self._last}

    def _read(self, request: Read) -> Any:
        place = self._settings.place
        match request.what:
            case "status":
                return {**self.netd.status(time.monotonic_ns()), "last": self._last}
            case "devices":
                return self._kernel.devices()
            case "demand":
                return self._kernel.demand()
            case "links":
                rows: dict[str, Any] = dict(self._kernel.counters(place.mesh))
                for device in self._have.shaping if self._have else ():
                    rows[device]["classes"] = self._kernel.class_counters(device)
                return rows
            case "kernel":
                return describe(self._kernel.read(place.access))
            case _:
                return _ask_radio(request)

    def _radio(self, request: Power | Frame) -> dict[str, Any]:
        with _wireless(request.device) as wireless:
            if isinstance(request, Power):
                wireless.set_power(request.cdbm)
            else:
                wireless.send_frame(request.mpdu, request.mhz)
        return {"ok": True}


# --- radios ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _wireless(device: str) -> Any:
    """A wireless device's requests; what the kernel refuses is a UserError."""
    from hotspot.carriers.io_nl80211 import Wireless

    try:
        with contextlib.closing(Wireless(device)) as wireless:
            yield wireless
    except OSError as error:
        said = f"{device}: {error.strerror or error}"
        remedy = "name a wireless device whose driver can do that (iw dev, iw phy)"
        raise UserError("device", said, remedy, exit_code=EXIT_FAILED) from error


def _ask_radio(request: Read) -> Any:
    with _wireless(request.device) as wireless:
        if request.what == "survey":
            return [asdict(row) for row in wireless.survey()]
        return [{**asdict(row), "mac": row.mac.hex(":")} for row in wireless.stations()]


# --- sockets and people ---------------------------------------------------------------------------


def _mesh_socket() -> socket.socket:
    mesh = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    mesh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    mesh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    mesh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CONTROL_TRAFFIC_CLASS)
    try:
        mesh.bind(("::", PORT))
    except OSError as error:
        said = f"UDP port {PORT}: {error.strerror}"
        raise UserError("netd", said, "is netd running already?", exit_code=EXIT_FAILED) from error
    return mesh


def _echo_socket() -> socket.socket | None:
    """A socket for echoes, which needs no right where the kernel grants it to our group."""
    try:
        door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    except OSError:
        return None
    door.setblocking(False)
    door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CONTROL_TRAFFIC_CLASS)
    return door


def _listen(path: Path) -> socket.socket:
    """Bind the socket; one that a dead netd left is replaced, a living one is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            try:
                listener.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                remedy = "stop that one first"
                raise UserError("--socket", f"{path}: netd is running", remedy)
            listener.close()
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        former = os.umask(0o117)
        try:
            listener.bind(str(path))
        finally:
            os.umask(former)
    except OSError as error:
        listener.close()
        remedy = "name a path in a folder that netd may write to"
        said = f"{path}: {error.strerror}"
        raise UserError("--socket", said, remedy, exit_code=EXIT_FAILED) from error
    listener.listen(CLIENTS_MAX)
    return listener


def _user_ids(users: Iterable[str]) -> set[int]:
    """Who may call: root, ourselves, and the users named. UserError for one who doesn't exist."""
    found = {0, os.geteuid()}
    for user in users:
        try:
            found.add(pwd.getpwnam(user).pw_uid)
        except KeyError:
            remedy = "create it, or leave it out"
            raise UserError("--user", f"{user}: no such user", remedy) from None
    return found


def describe(state: KernelState) -> dict[str, Any]:
    """Our part of a kernel, for people and programs."""
    return {
        "addresses": sorted(state.addresses),
        "routes": [
            {
                "table": route.table,
                "to": route.to,
                "mtu": route.mtu or None,
                "hops": [asdict(hop) for hop in route.hops],
            }
            for _, route in sorted(state.routes.items())
        ],
        "rules": [asdict(rule) for rule in sorted(state.rules)],
        "shaping": {device: asdict(shaping) for device, shaping in state.shaping.items()},
        "marking": state.marking.digest if isinstance(state.marking, Marking) else state.marking,
        "access": list(state.access),
        "demand": list(state.demand),
    }


if __name__ == "__main__":
    from chain.io_terminal import run_command
    from hotspot.netd.io_cli import main

    sys.exit(run_command(main, sys.argv[1:]))
