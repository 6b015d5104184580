"""The nftables rules of netd, as netlink attributes: marks by class and colour, counts by device.

Two tables `wavecomb` mark packets (IPv4 and IPv6); one table `wavecomb-devices` (netdev) counts
people's devices by MAC address on the owner's access interfaces, in a dynamic set of its own that
survives every change of plan. Expressions are (name, attributes) as pyroute2 encodes them; names
and numbers are those of the kernel's include/uapi/linux/netfilter/nf_tables.h. Pure.

    prerouting   from the mesh: DSCP > mark, a colour that isn't live is taken off for good;
                 from elsewhere: it enters here, so class, colour to stamp and the source bit
    output       the same for what this hotspot sends itself
    postrouting  mark > DSCP for what entered here, mark > htb class on shaped devices;
                 towards people's devices the local marking is taken off
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from routing.kernel.state import (
    AI,
    BEST_EFFORT,
    CLASS_MASK,
    CLASS_SHIFT,
    COLOUR_MASK,
    COLOUR_SHIFT,
    COLOURS,
    CONTROL,
    JOBS,
    MARK_MASK,
    SOURCE_MARK,
    Marking,
    dscp_of,
)

Expression = tuple[str, dict[str, Any]]
Rule = list[Expression]

TABLE, DEVICES_TABLE, DEMAND_TABLE = "wavecomb", "wavecomb-devices", "wavecomb-demand"
UP_SET, DOWN_SET, TARGETS_SET = "up", "down", "targets"
DEVICES_MAX = 4096
DEVICE_LIFE_MS = 24 * 3_600_000
HTB_MAJOR = 0x5743
CLASS_MINORS = {BEST_EFFORT: 0x30, JOBS: 0x20, AI: 0x10, CONTROL: 0x40}
# What the DSCP of a trusted sender asks for: EF (RFC 3246) > AI, AF11 (RFC 2597) > jobs,
# CS6 (RFC 4594, network control) > control.
CLASS_OF_DSCP = {46: AI, 10: JOBS, 48: CONTROL}

# Of an IPv4 and an IPv6 header: the two bytes at its start that hold the DSCP.
_DSCP_SHIFT = {4: 2, 6: 6}
REGISTER, VERDICT_REGISTER = 1, 0
META = {"PRIORITY": 2, "MARK": 3, "IIFNAME": 6, "OIFNAME": 7, "L4PROTO": 16}
HEADER = {"LL": 0, "NETWORK": 1, "TRANSPORT": 2}
CMP_EQUAL, CMP_UNEQUAL = 0, 1
CHECKSUM_INTERNET, DYNSET_UPDATE = 1, 1
TCP, TCP_OPTION, MSS_OPTION = 6, 1, 2
SYN, SYN_RST = 0x02, 0x06
# Fixed headers of IP and TCP, which the MSS leaves out.
HEADERS_BYTES = {4: 40, 6: 60}
_NO_NAME = b"\0" * 16


def _be(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def _native(value: int) -> bytes:
    return struct.pack("=I", value)


def _data(value: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}


def meta_load(key: str) -> Expression:
    """Load something about the packet into register 1."""
    return "meta", {"NFTA_META_DREG": REGISTER, "NFTA_META_KEY": META[key]}


def meta_set(key: str) -> Expression:
    """Write register 1 to it."""
    return "meta", {"NFTA_META_KEY": META[key], "NFTA_META_SREG": REGISTER}


def payload_load(base: str, offset: int, size: int) -> Expression:
    """Load bytes of a header into register 1."""
    return "payload", {
        "NFTA_PAYLOAD_DREG": REGISTER,
        "NFTA_PAYLOAD_BASE": HEADER[base],
        "NFTA_PAYLOAD_OFFSET": offset,
        "NFTA_PAYLOAD_LEN": size,
    }


def bitwise(mask: bytes, xor: bytes) -> Expression:
    """Register 1 = (register 1 & mask) ^ xor."""
    return "bitwise", {
        "NFTA_BITWISE_SREG": REGISTER,
        "NFTA_BITWISE_DREG": REGISTER,
        "NFTA_BITWISE_LEN": len(mask),
        "NFTA_BITWISE_MASK": _data(mask),
        "NFTA_BITWISE_XOR": _data(xor),
    }


def compare(value: bytes, *, equal: bool = True) -> Expression:
    """Go on with the rule only if register 1 is (not) this."""
    return "cmp", {
        "NFTA_CMP_SREG": REGISTER,
        "NFTA_CMP_OP": CMP_EQUAL if equal else CMP_UNEQUAL,
        "NFTA_CMP_DATA": _data(value),
    }


def immediate(value: bytes) -> Expression:
    """Put a constant into register 1."""
    return "immediate", {"NFTA_IMMEDIATE_DREG": REGISTER, "NFTA_IMMEDIATE_DATA": _data(value)}


def verdict(code: int, chain: str = "") -> Expression:
    """End with a verdict: 0 drop, -4 go to a chain for good, -5 return."""
    attrs: list[tuple[str, Any]] = [("NFTA_VERDICT_CODE", code)]
    if chain:
        attrs.append(("NFTA_VERDICT_CHAIN", chain))
    return "immediate", {
        "NFTA_IMMEDIATE_DREG": VERDICT_REGISTER,
        "NFTA_IMMEDIATE_DATA": {"attrs": [("NFTA_DATA_VERDICT", {"attrs": attrs})]},
    }


RETURN, GOTO = -5, -4


# --- pieces of rules ------------------------------------------------------------------------------


def is_device(key: str, device: str, *, equal: bool = True) -> Rule:
    """The packet came in by (IIFNAME) or leaves by (OIFNAME) this device."""
    name = (device.encode() + _NO_NAME)[:16]
    return [meta_load(key), compare(name, equal=equal)]


def mark_is(mask: int, value: int) -> Rule:
    """These bits of the mark have this value."""
    return [meta_load("MARK"), bitwise(_native(mask), _native(0)), compare(_native(value))]


def mark_set(mask: int, value: int) -> Rule:
    """Set these bits of the mark and leave the others."""
    keep = ~mask & 0xFFFF_FFFF
    return [meta_load("MARK"), bitwise(_native(keep), _native(value)), meta_set("MARK")]


def dscp_is(family: int, value: int, mask: int = 63) -> Rule:
    """The DSCP, or these bits of it, has this value."""
    shift = _DSCP_SHIFT[family]
    chosen = bitwise(_be(mask << shift, 2), _be(0, 2))
    return [payload_load("NETWORK", 0, 2), chosen, compare(_be(value << shift, 2))]


def dscp_set(family: int, value: int) -> Rule:
    """Write the DSCP; IPv4's header has a checksum to keep right."""
    shift = _DSCP_SHIFT[family]
    keep = bitwise(_be(~(63 << shift) & 0xFFFF, 2), _be(value << shift, 2))
    write: dict[str, Any] = {
        "NFTA_PAYLOAD_SREG": REGISTER,
        "NFTA_PAYLOAD_BASE": HEADER["NETWORK"],
        "NFTA_PAYLOAD_OFFSET": 0,
        "NFTA_PAYLOAD_LEN": 2,
    }
    if family == 4:
        write["NFTA_PAYLOAD_CSUM_TYPE"] = CHECKSUM_INTERNET
        write["NFTA_PAYLOAD_CSUM_OFFSET"] = 10
    return [payload_load("NETWORK", 0, 2), keep, ("payload", write)]


def priority_set(traffic_class: int) -> Rule:
    """Choose the htb class."""
    handle = HTB_MAJOR << 16 | CLASS_MINORS[traffic_class]
    return [immediate(_native(handle)), meta_set("PRIORITY")]


def mss_limit(family: int, mtu: int) -> Rule:
    """Lower a new TCP connection's MSS so that its packets fit (the kernel never raises it)."""
    write = {
        "NFTA_EXTHDR_SREG": REGISTER,
        "NFTA_EXTHDR_TYPE": MSS_OPTION,
        "NFTA_EXTHDR_OFFSET": 2,
        "NFTA_EXTHDR_LEN": 2,
        "NFTA_EXTHDR_OP": TCP_OPTION,
    }
    return [
        *(meta_load("L4PROTO"), compare(bytes([TCP]))),
        payload_load("TRANSPORT", 13, 1),
        *(bitwise(bytes([SYN_RST]), b"\0"), compare(bytes([SYN]))),
        *(immediate(_be(mtu - HEADERS_BYTES[family], 2)), ("exthdr", write)),
    ]


# --- chains ---------------------------------------------------------------------------------------


def chains_of(marking: Marking, family: int) -> dict[str, list[Rule]]:
    """Return the rules of each chain of one family's table."""
    return {
        "prerouting": _prerouting(marking),
        "output": _entering(marking, family, trusted=True),
        "postrouting": _postrouting(marking, family),
        "transit": _transit(marking, family),
        "trusted": _entering(marking, family, trusted=True),
        "foreign": _entering(marking, family, trusted=False),
        "mesh-out": _mesh_out(marking, family),
    }


def _prerouting(marking: Marking) -> list[Rule]:
    rules = [
        [*is_device("IIFNAME", device), verdict(GOTO, "transit")]
        for device in marking.mesh
    ]
    rules += [
        [*is_device("IIFNAME", device), verdict(GOTO, "trusted")]
        for device in marking.trusted
    ]
    return [*rules, [verdict(GOTO, "foreign")]]


def _transit(marking: Marking, family: int) -> list[Rule]:
    """From the mesh: what the DSCP says, where it is one of ours."""
    rules: list[Rule] = [
        mark_set(MARK_MASK, 0),
        [payload_load("NETWORK", 0, 2), *_not_ours(family), verdict(RETURN)],
    ]
    rules += [
        [*dscp_is(family, kind << 4, 3 << 4), *mark_set(CLASS_MASK, kind << CLASS_SHIFT)]
        for kind in (JOBS, AI, CONTROL)
    ]
    for colour in COLOURS:
        here = dscp_is(family, colour << 2, 3 << 2)
        if colour in marking.colours:
            rules.append([*here, *mark_set(COLOUR_MASK, colour << COLOUR_SHIFT)])
        else:
            rules += [
                [*here, *mark_is(CLASS_MASK, k << CLASS_SHIFT), *dscp_set(family, dscp_of(k, 0))]
                for k in range(4)
            ]
    return rules


def _not_ours(family: int) -> Rule:
    shift = _DSCP_SHIFT[family]
    return [bitwise(_be(3 << shift, 2), _be(0, 2)), compare(_be(3 << shift, 2), equal=False)]


def _entering(marking: Marking, family: int, *, trusted: bool) -> list[Rule]:
    """What enters the mesh here: its class, the colour to stamp, and that it entered here."""
    first = SOURCE_MARK | marking.stamp << COLOUR_SHIFT
    rules = [mark_set(MARK_MASK, first)]
    if marking.mtu:
        rules.append(mss_limit(family, marking.mtu))
    if trusted:
        rules += [
            [*dscp_is(family, dscp), *mark_set(CLASS_MASK, kind << CLASS_SHIFT)]
            for dscp, kind in CLASS_OF_DSCP.items()
        ]
    return rules


def _postrouting(marking: Marking, family: int) -> list[Rule]:
    rules: list[Rule] = [
        [*is_device("OIFNAME", device), verdict(GOTO, "mesh-out")]
        for device in marking.mesh
    ]
    for device in marking.shaped:
        if device not in marking.mesh:
            rules += _classify([device])
    ours = dscp_is(family, 0b11, 0b11)
    return [*rules, [*ours, *dscp_set(family, 0)]]


def _mesh_out(marking: Marking, family: int) -> list[Rule]:
    rules = _classify([device for device in marking.shaped if device in marking.mesh])
    came_through: Rule = [*mark_is(SOURCE_MARK, 0), verdict(RETURN)]
    rules.append(came_through)
    for kind in range(4):
        for colour in sorted({0, marking.stamp}):
            value = kind << CLASS_SHIFT | colour << COLOUR_SHIFT
            code = dscp_set(family, dscp_of(kind, colour))
            rules.append([*mark_is(CLASS_MASK | COLOUR_MASK, value), *code, verdict(RETURN)])
    return rules


def _classify(devices: Iterable[str]) -> list[Rule]:
    return [
        [*is_device("OIFNAME", device), *mark_is(CLASS_MASK, k << CLASS_SHIFT), *priority_set(k)]
        for device in devices
        for k in range(4)
    ]


# --- devices of people ----------------------------------------------------------------------------


def count_rule(set_name: str, offset: int) -> Rule:
    """Count the packet for the MAC address at this offset of the Ethernet header."""
    # Groups are nobody's device: the lowest bit of an address's first byte.
    alone = [payload_load("LL", offset, 1), bitwise(b"\x01", b"\0"), compare(b"\0")]
    return [*alone, payload_load("LL", offset, 6), _counted_in(set_name)]


def _counted_in(set_name: str) -> Expression:
    counter = {"attrs": [("NFTA_EXPR_NAME", "counter"), ("NFTA_EXPR_DATA", {"attrs": []})]}
    return "dynset", {
        "NFTA_DYNSET_SET_NAME": set_name,
        "NFTA_DYNSET_OP": DYNSET_UPDATE,
        "NFTA_DYNSET_SREG_KEY": REGISTER,
        "NFTA_DYNSET_TIMEOUT": DEVICE_LIFE_MS,
        "NFTA_DYNSET_EXPR": counter,
    }


# Where the destination stands in an IP header, and how long it is.
_DESTINATION = {4: (16, 4), 6: (24, 16)}


def demand_chains(mesh: Sequence[str], family: int) -> dict[str, list[Rule]]:
    """Count what enters the mesh here by destination: the demand that plans are made for."""
    offset, size = _DESTINATION[family]
    # A packet that came with segments is unwrapped by then, but still by its mesh device.
    passing = [[*is_device("IIFNAME", device), verdict(RETURN)] for device in mesh]
    count = [payload_load("NETWORK", offset, size), _counted_in(TARGETS_SET)]
    return {"prerouting": [*passing, count], "output": [count]}


COUNT_RULES: Sequence[tuple[str, str, int]] = (("in", UP_SET, 6), ("out", DOWN_SET, 0))
