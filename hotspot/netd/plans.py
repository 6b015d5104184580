"""hotspot-netd's mind: which plan is in force, and what follows for the kernel. Pure.

It holds one plan at a time, for as long as its lease. A newer version replaces it, the same one
renews the lease, an older one is refused (it was overtaken on its way). Once the lease is over the
plan is gone, and all that is ours but addresses and counters: the base mesh protocol carries on
alone, and still leads to us. Only being told to hold no plan takes the addresses away as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain.errors import UserError
from hotspot.netd.asking import MS, Ping
from hotspot.netd.links import Links, Outgoing, Peer
from routing.kernel.desired import Neighbour, Place, View, desired_state
from routing.kernel.nodeplan import MULTIPATH, NodePlan
from routing.kernel.state import KernelState


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner chose: devices, how often to say hello, and who else has the secret."""

    place: Place
    hello_ms: int = 50
    secret: bytes = b""
    fixed_mode: str = ""  # "multipath" where this kernel has no segment routing


class Netd:
    """Plans and datagrams in, the state to have out; `changes` rises when that may be another."""

    def __init__(self, settings: Settings, boot: int) -> None:
        self._settings, self._boot = settings, boot
        self.plan: NodePlan | None = None
        self.links: Links | None = None
        self.can_ask = False  # set by the driver that has a socket for echoes
        self.keeps_addresses = True
        self._until_ns = 0
        self._own_changes = 0

    @property
    def changes(self) -> int:
        """A number that rises with everything that the kernel's state depends on."""
        return self._own_changes + (self.links.changes if self.links else 0)

    def apply(self, plan: NodePlan | None, now_ns: int) -> None:
        """Take a plan, or none; UserError for one that can't be in force here."""
        self.keeps_addresses = False
        if plan is None:
            self._forget()
            return
        self._check(plan)
        if self.links is not None and self.links.node != plan.node:
            self.links = None
        if self.links is None:
            place, ms = self._settings.place, self._settings.hello_ms
            self.links = Links(plan.node, self._boot, place.mesh, self._settings.secret, ms)
            self._own_changes += 1_000_000  # the links' own count begins anew
        self.links.is_fast, self.links.can_ask = True, self.can_ask
        if self.plan != plan:
            self.plan = plan
            self._own_changes += 1
        self._until_ns = now_ns + plan.lease_ms * MS

    def _check(self, plan: NodePlan) -> None:
        known = self.plan
        if known is not None and plan.version < known.version:
            problem = f"is {plan.version}, and {known.version} is in force"
            raise UserError("plan.version", problem, "send a newer one")
        if known is not None and plan.version == known.version and plan != known:
            raise UserError("plan.version", "is in force with another content", "raise it")
        if self._settings.fixed_mode == MULTIPATH and plan.mode != MULTIPATH:
            remedy = "plan with multipath for this hotspot"
            raise UserError("plan.mode", "needs segment routing, which this kernel lacks", remedy)
        known_devices = {*self._settings.place.mesh, *self._settings.place.access}
        for device in (*(device for device, _ in plan.rates_kbps), *plan.trusted):
            if device not in known_devices:
                remedy = "name it in netd's settings (--mesh, --access)"
                raise UserError("plan", f"names {device}, which is not netd's to touch", remedy)

    def _forget(self) -> None:
        if self.plan is not None:
            self.plan = None
            self._own_changes += 1
        if self.links is not None:
            self.links.is_fast = False

    def receive(self, data: bytes, device: str, address: str, now_ns: int) -> list[Outgoing]:
        """Take a datagram from a neighbour."""
        return self.links.receive(data, device, address, now_ns) if self.links else []

    def lose_device(self, device: str, now_ns: int) -> list[Outgoing]:
        """A device has no carrier any more."""
        return self.links.lose_device(device, now_ns) if self.links else []

    def tick(self, now_ns: int) -> list[Outgoing]:
        """Do what is due."""
        if self.plan is not None and now_ns >= self._until_ns:
            self._forget()
            self.keeps_addresses = True
        return self.links.tick(now_ns) if self.links else []

    def ask(self, now_ns: int) -> list[Ping]:
        """Return the echo requests that are due."""
        return self.links.ask(now_ns) if self.links else []

    def take_answer(self, device: str, address: str, number: int, now_ns: int) -> None:
        """Take a neighbour's kernel's answer to one."""
        if self.links is not None:
            self.links.take_answer(device, address, number, now_ns)

    def next_ns(self, now_ns: int) -> int:
        """When `tick` wants to be called at the latest."""
        due = [now_ns + 1_000 * MS]
        if self.links is not None:
            due.append(self.links.next_ns(now_ns))
        if self.plan is not None:
            due.append(self._until_ns)
        return min(due)

    def wanted(self, neighbour: Callable[[str, str], Neighbour]) -> KernelState:
        """Return the state that the kernel should have; `neighbour` knows each device's MTU."""
        links = self.links
        if links is None or self.plan is None:
            return desired_state(None, _NOBODY, self._settings.place)
        near = {n: neighbour(p.device, p.address) for n, p in links.up().items()}
        view = View(near, links.alive())
        return desired_state(self.plan, view, self._settings.place)

    def status(self, now_ns: int) -> dict[str, Any]:
        """What people and programs may know."""
        plan, links = self.plan, self.links
        peers = links.up() if links else {}
        return {
            "node": links.node if links else None,
            "version": plan.version if plan else None,
            "mode": plan.mode if plan else None,
            "segments": self._settings.fixed_mode != MULTIPATH,
            "lease_left_ms": max(0, self._until_ns - now_ns) // MS if plan else None,
            "neighbours": [_row(node, peer, now_ns) for node, peer in sorted(peers.items())],
            "known": len(links.notes) if links else 0,
            "refused": links.refused if links else 0,
        }


_NOBODY = View({}, {})


def _row(node: int, peer: Peer, now_ns: int) -> dict[str, Any]:
    return {
        "node": node,
        "device": peer.device,
        "address": peer.address,
        "loss_permille": round(peer.loss * 1000),
        "heard_ms": (now_ns - peer.heard_ns) // MS,
        "interval_ms": peer.interval_ms,
        "misses": peer.misses(),
        "rtt_us": round(peer.asking.rtt_ns / 1000) if peer.asking.answers(now_ns) else None,
    }
