"""What a sans-IO state machine asks of the world: values that a driver turns into effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Put a frame (transmit radiotap header and 802.11 MPDU) on the air, `power_step_db` below full power."""

    frame: bytes
    power_step_db: int
    frequency_mhz: int


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send an overlay datagram to the neighbour with this hotspot index."""

    peer: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SubmitRecord:
    """Deliver a signed record to the ledger, at least once; it is already in the durable queue."""

    wire: bytes


@dataclass(frozen=True, slots=True)
class KeepReceptions:
    """Store these 14-byte receptions of an epoch durably before they count as heard."""

    epoch: int
    receptions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FetchMix:
    """Ask the ledger for the public randomness of an epoch and hand it to `receive_mix`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the owner: a state change, or a fault with its remedy."""

    level: str
    text: str


Action = SendFrame | SendDatagram | SubmitRecord | KeepReceptions | FetchMix | Log


class Machine(Protocol):
    """A sans-IO machine: bytes and the time go in, actions come out."""

    def next_deadline(self) -> int | None:
        """Time in ns at which `handle_deadline` wants to be called, or None."""

    def handle_deadline(self, now_ns: int) -> None:
        """Do what has become due."""

    def take_actions(self) -> list[Action]:
        """Hand over and forget the actions that have gathered."""
