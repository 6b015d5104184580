"""Which radio a hotspot uses, in one word: `monitor:mon0`. Pure; `io_open.py` opens what it names.

- monitor:INTERFACE: a monitor-mode interface, injects and hears everything; CAP_NET_RAW.
- nl80211:INTERFACE: an access point or station as it is, through nl80211; CAP_NET_ADMIN, or a
  hotspot-netd that sends for it and a monitor as `listen`.
- hostapd:SOCKET: an access point's own beacons, through hostapd's control socket; no capability.
  It only speaks, so `listen` names what hears.
- replay:FILE: a recording; nothing leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.errors import UserError

KINDS = ("monitor", "nl80211", "hostapd", "replay")
HEARING = ("monitor", "nl80211", "replay")
MAY_PAIR = ("nl80211", "hostapd")
HELP = (
    "monitor:INTERFACE (a monitor-mode interface), nl80211:INTERFACE (an access point or station, "
    "no monitor mode), hostapd:SOCKET (in the access point's own beacons) or replay:FILE"
)
REMEDY = "write KIND:NAME, such as monitor:mon0, nl80211:wlan0, hostapd:/run/hostapd/wlan0"


@dataclass(frozen=True, slots=True)
class RadioSpec:
    """A kind of radio and the interface, socket or file that it stands on."""

    kind: str
    target: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}"


def parse_spec(text: str, field: str = "radio") -> RadioSpec:
    """Read KIND:NAME. UserError names the field and the kinds there are."""
    kind, colon, target = text.partition(":")
    if not colon or not target:
        raise UserError(field, f"{text!r} names no radio", REMEDY)
    if kind not in KINDS:
        raise UserError(field, f"{kind!r} is no kind of radio", f"use {', '.join(KINDS)}: {REMEDY}")
    return RadioSpec(kind, target)


def check_pair(spec: RadioSpec, listen: str) -> RadioSpec | None:
    """The radio that listens beside `spec`; None for one that hears by itself. UserError if odd."""
    if spec.kind not in MAY_PAIR:
        if listen:
            remedy = "leave radio.listen empty, or speak through hostapd or nl80211"
            raise UserError("radio.listen", f"{spec} hears by itself", remedy)
        return None
    if not listen and spec.kind in HEARING:
        return None
    if not listen:
        remedy = 'name what hears: listen = "monitor:mon0" or "nl80211:wlan0"'
        raise UserError("radio.listen", "an access point's beacons only speak", remedy)
    other = parse_spec(listen, "radio.listen")
    if other.kind not in HEARING:
        raise UserError("radio.listen", f"{other} hears nothing", f"use {', '.join(HEARING)}")
    return other
