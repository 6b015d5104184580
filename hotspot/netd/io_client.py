"""Talking to netd: one call, one answer, over its Unix socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, UserError
from hotspot.netd.protocol import LENGTH, MESSAGE_MAX, decode, encode
from routing.kernel.nodeplan import NodePlan, plan_to_json

SOCKET = Path("/run/wavecomb-netd/netd.sock")
# A call that took longer is given up, and its connection closed: rollouts count on that.
CALL_S = 1.0


class NetdClient:
    """A connection that is made when it's needed and again when it broke. Not for two threads."""

    def __init__(self, path: Path = SOCKET, call_s: float = CALL_S) -> None:
        self._path, self._call_s = path, call_s
        self._socket: socket.socket | None = None

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        """Ask; UserError with netd's own words where it refuses, or where it doesn't answer."""
        try:
            answer = self._exchange(encode(message))
        except OSError as error:
            self.close()
            said = f"{self._path}: {error.strerror or error}"
            remedy = "start it: wavecomb hotspot netd run"
            raise UserError("netd", said, remedy, exit_code=EXIT_FAILED) from error
        if not answer.get("ok"):
            raise UserError(
                str(answer.get("field", "netd")),
                str(answer.get("problem", "refused")),
                str(answer.get("remedy", "see docs/netd.md")),
                exit_code=EXIT_FAILED,
            )
        return answer

    def apply(self, plan: NodePlan | None) -> dict[str, Any]:
        """Put a plan in force, or none."""
        return self.call({"verb": "apply", "plan": plan and plan_to_json(plan)})

    def read(self, what: str, device: str = "") -> dict[str, Any]:
        """Ask for something of netd_protocol.READABLE."""
        return self.call({"verb": "read", "what": what, **({"device": device} if device else {})})

    def set_power(self, device: str, cdbm: int | None) -> None:
        """Set the transmit power, hundredths of a dBm; None: as the driver likes."""
        self.call({"verb": "power", "device": device, "cdbm": cdbm})

    def send_frame(self, device: str, mpdu: bytes, mhz: int | None = None) -> None:
        """Send one of our Public Action frames."""
        self.call({"verb": "frame", "device": device, "mhz": mhz, "frame": mpdu.hex()})

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, data: bytes) -> dict[str, Any]:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(self._call_s)
            self._socket.connect(str(self._path))
        self._socket.sendall(data)
        (length,) = LENGTH.unpack(self._take(LENGTH.size))
        if length > MESSAGE_MAX:
            raise OSError("an answer of impossible length")
        return decode(self._take(length))

    def _take(self, size: int) -> bytes:
        if self._socket is None:
            raise OSError("not connected")
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise OSError("netd closed the connection")
            data += part
        return data
