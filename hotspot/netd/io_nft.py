"""nftables through netlink: pyroute2 encodes and decodes, one batch is one transaction.

pyroute2's own `NFTables` sends one change per transaction and knows no netdev hooks; its message
classes know all that is needed. So they make the bytes here, and a batch replaces a whole table at
once: packets see the old rules or the new ones, never a mixture.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyroute2.netlink.nfnetlink import nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    nft_chain_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_set_msg,
    nft_table_msg,
)

from hotspot.netd.nft import (
    COUNT_RULES,
    DEMAND_TABLE,
    DEVICE_LIFE_MS,
    DEVICES_MAX,
    DEVICES_TABLE,
    DOWN_SET,
    TABLE,
    TARGETS_SET,
    UP_SET,
    Rule,
    chains_of,
    count_rule,
    demand_chains,
)
from routing.kernel.state import Marking

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11
_NEW_TABLE, _GET_TABLE, _DEL_TABLE = 0, 1, 2
_NEW_CHAIN, _NEW_RULE = 3, 6
_NEW_SET, _GET_ELEMENTS = 9, 13
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 1, 4, 0x300, 0x400, 0x800
_FAMILY = {4: 2, 6: 10, "netdev": 5}
_ANSWER_BYTES = 1 << 20
_ETHERNET_BYTES = 14
# nft's numbers for types, shown by `nft list`.
_IPV4_ADDRESS, _IPV6_ADDRESS, _ETHER_ADDRESS = 7, 8, 9
_KEY_BYTES = {4: 4, 6: 16, "netdev": 6}
# Hook, chain type, priority: -150 is the place of "mangle" in the kernel's order of hooks.
_BASE_CHAINS = {
    "prerouting": (0, "filter", -150),
    "output": (3, "filter", -150),
    "postrouting": (4, "filter", -150),
}
_DEMAND_CHAINS = {"prerouting": (0, "filter", -140), "output": (3, "filter", -140)}
_DEVICE_HOOKS = {"in": 0, "out": 1}  # NF_NETDEV_INGRESS, NF_NETDEV_EGRESS

Attributes = Sequence[tuple[str, Any]]
Message = tuple[type[Any], int, int | str, Attributes]


class Nftables:
    """A netlink socket to nftables in the namespace where it was opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    # --- marking ----------------------------------------------------------------------------------

    def marking(self) -> str | None:
        """Digest of the marking rules that are there, None for none; odd ones count as unknown."""
        found = {
            family: digest
            for family in (4, 6)
            for name, digest in self._tables(family)
            if name == TABLE
        }
        if not found:
            return None
        digests = set(found.values())
        return digests.pop() if len(found) == 2 and len(digests) == 1 else "unknown"

    def put_marking(self, marking: Marking) -> None:
        """Replace both marking tables in one transaction."""
        batch = Batch()
        for family in (4, 6):
            batch.replace_table(family, TABLE, marking.digest)
            chains = chains_of(marking, family)
            for name in chains:
                batch.chain(family, TABLE, name, _BASE_CHAINS.get(name))
            for name, rules in chains.items():
                for rule in rules:
                    batch.rule(family, TABLE, name, rule)
        self.commit(batch)

    def drop_marking(self) -> None:
        """Remove the marking tables."""
        for family in (4, 6):
            self.drop_table(family, TABLE)

    # --- people's devices -------------------------------------------------------------------------

    def counted_devices(self) -> bool:
        """Whether the counting table is there."""
        return any(name == DEVICES_TABLE for name, _ in self._tables("netdev"))

    def put_devices(self, devices: Sequence[str]) -> None:
        """Count by MAC address on these devices; counts of before are kept where it's the same."""
        digest = ",".join(devices)
        if (DEVICES_TABLE, digest) in self._tables("netdev"):
            return
        batch = Batch()
        batch.replace_table("netdev", DEVICES_TABLE, digest)
        for name in (UP_SET, DOWN_SET):
            batch.counting_set(DEVICES_TABLE, name, "netdev", _ETHER_ADDRESS, 6)
        for way, set_name, offset in COUNT_RULES:
            for number, device in enumerate(devices):
                chain = f"{way}-{number}"
                batch.device_chain(DEVICES_TABLE, chain, _DEVICE_HOOKS[way], device)
                batch.rule("netdev", DEVICES_TABLE, chain, count_rule(set_name, offset))
        self.commit(batch)

    def drop_devices(self) -> None:
        """Stop counting, and forget."""
        self.drop_table("netdev", DEVICES_TABLE)

    def read_devices(self) -> dict[str, dict[str, int]]:
        """IP bytes and packets by MAC address, up (from the device) and down (to it)."""
        result: dict[str, dict[str, int]] = {}
        if not self.counted_devices():
            return result
        for way in (UP_SET, DOWN_SET):
            # On its way out a packet has its Ethernet header already, on its way in no more.
            header = _ETHERNET_BYTES if way == DOWN_SET else 0
            for key, (counted, packets) in self._elements(DEVICES_TABLE, way, "netdev").items():
                mac = key.hex(":")
                octets = counted - header * packets
                row = result.setdefault(
                    mac, {"up_bytes": 0, "up_packets": 0, "down_bytes": 0, "down_packets": 0}
                )
                row[f"{way}_bytes"], row[f"{way}_packets"] = octets, packets
        return result

    def _elements(
        self, table: str, set_name: str, family: int | str
    ) -> dict[bytes, tuple[int, int]]:
        attrs = [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", set_name)]
        result = {}
        for message in self._dump(nft_set_elem_list_msg, _GET_ELEMENTS, family, attrs):
            for element in message.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ():
                key = element.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE")
                result[bytes(key)[: _KEY_BYTES[family]]] = _counter(element)
        return result

    # --- demand -----------------------------------------------------------------------------------

    def counted_demand(self) -> tuple[str, ...]:
        """Devices of the mesh for which demand is counted, none where it isn't."""
        said = dict(self._tables(6)).get(DEMAND_TABLE, "")
        return tuple(said.split(",")) if said else ()

    def put_demand(self, mesh: Sequence[str]) -> None:
        """Count what doesn't come from these devices, by destination."""
        batch = Batch()
        for family, kind, size in ((4, _IPV4_ADDRESS, 4), (6, _IPV6_ADDRESS, 16)):
            batch.replace_table(family, DEMAND_TABLE, ",".join(mesh))
            batch.counting_set(DEMAND_TABLE, TARGETS_SET, family, kind, size)
            for name, rules in demand_chains(mesh, family).items():
                batch.chain(family, DEMAND_TABLE, name, _DEMAND_CHAINS[name])
                for rule in rules:
                    batch.rule(family, DEMAND_TABLE, name, rule)
        self.commit(batch)

    def drop_demand(self) -> None:
        """Stop counting, and forget."""
        for family in (4, 6):
            self.drop_table(family, DEMAND_TABLE)

    def read_demand(self) -> dict[str, int]:
        """Bytes that entered the mesh here, by destination address."""
        result = {}
        if self.counted_demand():
            for family in (4, 6):
                for key, (octets, _) in self._elements(DEMAND_TABLE, TARGETS_SET, family).items():
                    result[str(ipaddress.ip_address(key))] = octets
        return result

    # --- transport --------------------------------------------------------------------------------

    def _tables(self, family: int | str) -> list[tuple[str, str]]:
        """(name, digest in its comment) of a family's tables."""
        rows = []
        for message in self._dump(nft_table_msg, _GET_TABLE, family, []):
            if message["nfgen_family"] == _FAMILY[family]:
                said = message.get_attr("NFTA_TABLE_USERDATA")
                rows.append((str(message.get_attr("NFTA_TABLE_NAME")), str(said or "")))
        return rows

    def drop_table(self, family: int | str, name: str) -> None:
        """Remove a table of that name, if there is one."""
        if any(known == name for known, _ in self._tables(family)):
            batch = Batch()
            batch.drop_table(family, name)
            self.commit(batch)

    def commit(self, batch: Batch) -> None:
        """Carry out a transaction; OSError if any part of it is refused, and then none is done."""
        first = self._sequence + 1
        self._socket.send(batch.encode(first))
        self._sequence = first + len(batch.messages) + 1
        self._await_acks(range(first + 1, self._sequence))

    def _await_acks(self, sequences: range) -> None:
        """Read one answer per message; OSError says which was refused and why."""
        waiting = set(sequences)
        while waiting:
            for kind, sequence, payload in _messages(self._socket.recv(_ANSWER_BYTES)):
                if kind != 2 or not (sequence in waiting or sequence == sequences.start - 1):
                    continue
                waiting.discard(sequence)
                error = -struct.unpack_from("=i", payload)[0]
                if error:
                    where = f"nftables, message {sequence - sequences.start}"
                    raise OSError(error, f"{where}: {os.strerror(error)}")

    def _dump(
        self, kind: type[Any], command: int, family: int | str, attrs: Attributes
    ) -> list[Any]:
        self._sequence += 1
        data = _encode(kind, command, family, attrs, _REQUEST | _DUMP, self._sequence)
        self._socket.send(data)
        found: list[Any] = []
        while True:
            raw = self._socket.recv(_ANSWER_BYTES)
            for answer, sequence, payload in _messages(raw):
                if sequence != self._sequence:
                    continue
                if answer == 3:
                    return found
                if answer == 2:
                    error = -struct.unpack_from("=i", payload)[0]
                    if error == errno.ENOENT or not error:
                        return found
                    raise OSError(error, f"nftables: {os.strerror(error)}")
                found.append(_decode(kind, answer, payload))


def _messages(data: bytes) -> Iterable[tuple[int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
        yield kind, sequence, data[offset + 16 : offset + length]
        offset += (max(16, length) + 3) & ~3


def _decode(kind: type[Any], answer: int, payload: bytes) -> Any:
    message = kind(struct.pack("=IHHII", len(payload) + 16, answer, 0, 0, 0) + payload)
    message.decode()
    return message


def _encode(
    kind: type[Any], command: int, family: int | str, attrs: Attributes, flags: int, sequence: int
) -> bytes:
    message = kind()
    message["attrs"] = [list(pair) for pair in attrs]
    message["header"]["type"] = _SUBSYSTEM | command
    message["header"]["flags"] = flags
    message["header"]["sequence_number"] = sequence
    message["nfgen_family"] = _FAMILY[family]
    message.encode()
    return bytes(message.data)


# From one version of the rules to the next nearly all messages are the same, and encoding one takes
# pyroute2 half a millisecond.
_encoded: dict[str, bytes] = {}
_ENCODED_MAX = 4096


def _numbered(message: Message, flags: int, number: int) -> bytes:
    name = repr((message, flags))
    data = _encoded.get(name)
    if data is None:
        data = _encode(*message, flags, 0)
        if len(_encoded) >= _ENCODED_MAX:
            _encoded.clear()
        _encoded[name] = data
    return data[:8] + struct.pack("=I", number) + data[12:]


def _fence(kind: int, sequence: int) -> bytes:
    message = nfgen_msg()
    message["res_id"] = 10
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


def _counter(element: Any) -> tuple[int, int]:
    for name in ("NFTA_SET_ELEM_EXPR", "NFTA_SET_ELEM_EXPRESSIONS"):
        said = element.get_attr(name)
        for expression in said if isinstance(said, list) else [said] if said else []:
            if expression.get_attr("NFTA_EXPR_NAME") == "counter":
                data = expression.get_attr("NFTA_EXPR_DATA")
                return int(data.get_attr("NFTA_COUNTER_BYTES")), int(
                    data.get_attr("NFTA_COUNTER_PACKETS")
                )
    return 0, 0


class Batch:
    """Messages of one transaction."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def encode(self, first: int) -> bytes:
        """The bytes, begin and end included, numbered from `first` on."""
        flags = _REQUEST | _ACK | _CREATE | _APPEND
        parts = [_fence(_BEGIN, first)]
        for number, message in enumerate(self.messages, first + 1):
            parts.append(_numbered(message, flags, number))
        return b"".join([*parts, _fence(_END, first + len(self.messages) + 1)])

    def replace_table(self, family: int | str, name: str, comment: str) -> None:
        """Begin with an empty table, whether there was one or not."""
        table = [("NFTA_TABLE_NAME", name)]
        whole = [*table, ("NFTA_TABLE_USERDATA", comment)]
        self.messages.append((nft_table_msg, _NEW_TABLE, family, table))
        self.drop_table(family, name)
        self.messages.append((nft_table_msg, _NEW_TABLE, family, whole))

    def drop_table(self, family: int | str, name: str) -> None:
        """Remove a table with all that is in it."""
        self.messages.append((nft_table_msg, _DEL_TABLE, family, [("NFTA_TABLE_NAME", name)]))

    def chain(
        self, family: int | str, table: str, name: str, hook: tuple[int, str, int] | None
    ) -> None:
        """Add a chain, at a hook where one is given."""
        attrs: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)]
        if hook:
            number, kind, priority = hook
            place = [("NFTA_HOOK_HOOKNUM", number), ("NFTA_HOOK_PRIORITY", priority)]
            attrs += [("NFTA_CHAIN_HOOK", {"attrs": place}), ("NFTA_CHAIN_TYPE", kind)]
        self.messages.append((nft_chain_msg, _NEW_CHAIN, family, attrs))

    def device_chain(self, table: str, name: str, hook: int, device: str) -> None:
        """Add a chain to a device's own way in or out."""
        place = [
            ("NFTA_HOOK_HOOKNUM", hook),
            ("NFTA_HOOK_PRIORITY", 0),
            ("NFTA_HOOK_DEV", device),
        ]
        attrs = [
            ("NFTA_CHAIN_TABLE", table),
            ("NFTA_CHAIN_NAME", name),
            ("NFTA_CHAIN_HOOK", {"attrs": place}),
            ("NFTA_CHAIN_TYPE", "filter"),
        ]
        self.messages.append((nft_chain_msg, _NEW_CHAIN, "netdev", attrs))

    def rule(self, family: int | str, table: str, chain: str, expressions: Rule) -> None:
        """Add a rule at a chain's end."""
        rows = [
            {
                "attrs": [
                    ("NFTA_EXPR_NAME", name),
                    ("NFTA_EXPR_DATA", {"attrs": list(attrs.items())}),
                ]
            }
            for name, attrs in expressions
        ]
        attrs = [
            ("NFTA_RULE_TABLE", table),
            ("NFTA_RULE_CHAIN", chain),
            ("NFTA_RULE_EXPRESSIONS", rows),
        ]
        self.messages.append((nft_rule_msg, _NEW_RULE, family, attrs))

    def counting_set(
        self, table: str, name: str, family: int | str, kind: int, key_bytes: int
    ) -> None:
        """Add a set of addresses with counters that packets fill."""
        attrs: Mapping[str, Any] = {
            "NFTA_SET_TABLE": table,
            "NFTA_SET_NAME": name,
            "NFTA_SET_FLAGS": {"NFT_SET_TIMEOUT", "NFT_SET_EVAL"},
            "NFTA_SET_KEY_TYPE": kind,
            "NFTA_SET_KEY_LEN": key_bytes,
            "NFTA_SET_ID": len(self.messages),
            "NFTA_SET_TIMEOUT": DEVICE_LIFE_MS,
            "NFTA_SET_DESC": {"attrs": [("NFTA_SET_DESC_SIZE", DEVICES_MAX)]},
        }
        self.messages.append((nft_set_msg, _NEW_SET, family, list(attrs.items())))
