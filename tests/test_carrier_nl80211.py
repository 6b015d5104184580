"""nl80211 without a Wi-Fi driver: our bytes against pyroute2's, recorded kernel answers, a fake.

No test here proves that a driver sends anything; docs/hardware.md says so.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nl80211 import nl80211cmd

from chain.errors import UserError
from chain.records import Refusal
from hotspot.carriers import netlink, nl80211
from hotspot.carriers.io_netd_radio import NetdPower, NetdRadio, has_netd, mac_address
from hotspot.carriers.io_nl80211 import Nl80211Radio, Wireless
from hotspot.carriers.io_power import PoweredRadio
from hotspot.netd.protocol import encode as encode_message
from hotspot.netd.protocol import parse_request
from hotspot.radio import io_survey
from hotspot.radio.frame import PAYLOAD_BYTES, build_frame, parse_frame
from hotspot.radio.io_radio import MockRadio

TRUTH = Path(__file__).parents[1] / ".." / "shared" / "ground-truth" / "hotspot" / "netlink"
FAMILY, IFINDEX = 0x1C, 7
MAC = bytes.fromhex("02a1b2c3d4e5")
PAYLOAD = bytes(range(PAYLOAD_BYTES))
FRAME = build_frame(PAYLOAD, b"\x02" + bytes(5), 5)
MPDU = FRAME[12:]


def by_pyroute2(command: int, flags: int, attributes: list[tuple[str, Any]]) -> bytes:
    """The same request as pyroute2 encodes it."""
    message = nl80211cmd()
    message["cmd"] = command
    message["attrs"] = attributes
    message["header"] = {"type": FAMILY, "flags": flags | 1, "sequence_number": 9, "pid": 0}
    message.encode()
    return bytes(message.data)


def without_version(message: bytes) -> bytes:
    """nl80211 ignores the version of a request: pyroute2 writes 1 or 0."""
    return message[:17] + b"\0" + message[18:]


@pytest.mark.parametrize(
    ("ours", "command", "flags", "attributes"),
    [
        (nl80211.interface_request(FAMILY, IFINDEX, 9), 5, 4, [("NL80211_ATTR_IFINDEX", 7)]),
        (nl80211.survey_request(FAMILY, IFINDEX, 9), 50, 0x300, [("NL80211_ATTR_IFINDEX", 7)]),
        (nl80211.stations_request(FAMILY, IFINDEX, 9), 17, 0x300, [("NL80211_ATTR_IFINDEX", 7)]),
        (
            nl80211.power_request(FAMILY, IFINDEX, 1700, 9),
            2,
            4,
            [
                ("NL80211_ATTR_IFINDEX", IFINDEX),
                ("NL80211_ATTR_WIPHY_TX_POWER_SETTING", 2),
                ("NL80211_ATTR_WIPHY_TX_POWER_LEVEL", 1700),
            ],
        ),
        (
            nl80211.frame_request(FAMILY, IFINDEX, MPDU, 9, 2437),
            59,
            4,
            [
                ("NL80211_ATTR_IFINDEX", IFINDEX),
                ("NL80211_ATTR_WIPHY_FREQ", 2437),
                ("NL80211_ATTR_FRAME", MPDU),
                ("NL80211_ATTR_DONT_WAIT_FOR_ACK", b""),
            ],
        ),
        (
            nl80211.register_request(FAMILY, IFINDEX, 9),
            58,
            4,
            [
                ("NL80211_ATTR_IFINDEX", IFINDEX),
                ("NL80211_ATTR_FRAME_TYPE", struct.pack("=H", 0xD0)),
                ("NL80211_ATTR_FRAME_MATCH", b"\x04\x09RWC"),
            ],
        ),
    ],
)
def test_requests_are_the_bytes_that_pyroute2_makes(
    ours: bytes, command: int, flags: int, attributes: list[tuple[str, Any]]
) -> None:
    assert without_version(ours) == without_version(by_pyroute2(command, flags, attributes))


def test_the_frame_request_is_the_bytes_that_the_header_file_asks_for() -> None:
    """Worked out by hand from linux/netlink.h and linux/nl80211.h, little-endian."""
    request = nl80211.frame_request(0x1C, 3, b"\xd0\x00\x01", 2)
    assert request.hex() == (
        "28000000" "1c00" "0500" "02000000" "00000000"  # length, family, request|ack, 2, port
        "3b000000"  # NL80211_CMD_FRAME = 59
        "0800030003000000"  # ATTR_IFINDEX = 3
        "07003300d0000100"  # ATTR_FRAME = 51, three bytes and one of padding
        "04008e00"  # ATTR_DONT_WAIT_FOR_ACK = 142, a flag
    )  # fmt: skip


# --- recorded answers -----------------------------------------------------------------------------


def recorded(name: str) -> bytes:
    if not TRUTH.is_dir():
        pytest.skip("recorded netlink answers not present: ../shared/ground-truth")
    lines = (TRUTH / name).read_text().splitlines()
    plain = [line.replace("\\x", ":") for line in lines]
    kept = [line for line in plain if re.fullmatch(r"[ :]*([0-9a-f]{2}[ :]*)+", line)]
    return bytes.fromhex("".join(kept).replace(":", "").replace(" ", ""))


def test_a_recorded_interface_reads_as_it_was() -> None:
    """The dump's author printed the same beneath it."""
    (message,) = netlink.read_messages(recorded("iw_info_rsp.dump"))
    assert isinstance(message, netlink.Message)
    generic = netlink.read_generic(message)
    assert isinstance(generic, netlink.Generic)
    found = nl80211.read_interface(generic)
    assert found is not None
    assert (found.index, found.name, found.mac.hex(":")) == (3, "wlo1", "a4:4e:31:43:1c:7d")
    assert (found.wiphy, found.kind) == (0, 2)


def test_recorded_scans_hold_what_pyroute2_finds_in_them() -> None:
    data = recorded("iw_scan_rsp.dump")
    ours, offset = [], 0
    for message in netlink.read_messages(data):
        assert isinstance(message, netlink.Message)
        generic = netlink.read_generic(message)
        assert isinstance(generic, netlink.Generic)
        bss = dict(netlink.read_attributes(generic.attributes.get(47, b"")))
        theirs = nl80211cmd(data, offset=offset)
        theirs.decode()
        there = theirs.get_attr("NL80211_ATTR_BSS")
        if there is not None:
            ours.append(bss[1].hex(":"))
            assert ours[-1] == there.get_attr("NL80211_BSS_BSSID")
            assert netlink.number(bss[2]) == there.get_attr("NL80211_BSS_FREQUENCY")
        offset += theirs["header"]["length"]
    assert len(set(ours)) == 4


def answer(command: int, attributes: list[tuple[str, Any]]) -> netlink.Generic:
    """An answer as pyroute2 would encode it, read by us."""
    (message,) = netlink.read_messages(by_pyroute2(command, 0, attributes))
    assert isinstance(message, netlink.Message)
    generic = netlink.read_generic(message)
    assert isinstance(generic, netlink.Generic)
    return generic


def test_survey_and_station_figures_read_as_pyroute2_wrote_them() -> None:
    survey = nl80211.read_survey(
        answer(
            51,
            [
                (
                    "NL80211_ATTR_SURVEY_INFO",
                    {
                        "attrs": [
                            ("NL80211_SURVEY_INFO_FREQUENCY", 2437),
                            ("NL80211_SURVEY_INFO_NOISE", 256 - 95),
                            ("NL80211_SURVEY_INFO_IN_USE", True),
                            ("NL80211_SURVEY_INFO_TIME", 100_000),
                            ("NL80211_SURVEY_INFO_TIME_BUSY", 31_000),
                            ("NL80211_SURVEY_INFO_TIME_TX", 400),
                        ]
                    },
                )
            ],
        )
    )
    assert survey == nl80211.Survey(2437, True, -95, 100_000, 31_000, None, 400)
    station = nl80211.read_station(
        answer(
            19,
            [
                ("NL80211_ATTR_MAC", MAC.hex(":")),
                (
                    "NL80211_ATTR_STA_INFO",
                    {
                        "attrs": [
                            ("NL80211_STA_INFO_SIGNAL", -61),
                            ("NL80211_STA_INFO_RX_BYTES", 1_000),
                            ("NL80211_STA_INFO_TX_BYTES64", 1 << 33),
                            ("NL80211_STA_INFO_TX_RETRIES", 12),
                            ("NL80211_STA_INFO_TX_FAILED", 3),
                            ("NL80211_STA_INFO_INACTIVE_TIME", 250),
                        ]
                    },
                ),
            ],
        )
    )
    assert station == nl80211.Station(MAC, -61, 1_000, 1 << 33, 12, 3, None, 250)


@given(data=st.binary(max_size=200))
def test_no_bytes_make_the_readers_raise(data: bytes) -> None:
    for message in netlink.read_messages(data):
        if isinstance(message, Refusal):
            continue
        netlink.read_error(message)
        generic = netlink.read_generic(message)
        if isinstance(generic, Refusal):
            continue
        for attribute in (nl80211.ATTR_SURVEY_INFO, nl80211.ATTR_STA_INFO, nl80211.ATTR_MAC):
            generic.attributes[attribute] = data
        for command in (7, 19, 51, 59, 60):
            made = netlink.Generic(command, generic.attributes)
            nl80211.read_interface(made)
            nl80211.read_survey(made)
            nl80211.read_station(made)
            nl80211.frame_heard(made)


# --- a kernel that a test plays -------------------------------------------------------------------


def encode(kind: int, sequence: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, sequence, 0) + payload


def generic_payload(command: int, attributes: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(netlink.pack_attribute(*row) for row in attributes)
    return struct.pack("=BBxx", command, 1) + body


class FakeKernel:
    """Plays nl80211 for the doors it opens; keeps what it was asked."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.powers: list[int | None] = []
        self.joined: list[int] = []
        self.registered: list[bytes] = []
        self.refuse: dict[int, int] = {}
        self.dumps: dict[int, bytes] = {}
        self.doors: list[FakeDoor] = []

    def open(self, timeout_s: float | None) -> FakeDoor:
        self.doors.append(FakeDoor(self))
        return self.doors[-1]

    def answer(self, door: FakeDoor, request: bytes) -> list[bytes]:
        (message,) = netlink.read_messages(request)
        assert isinstance(message, netlink.Message)
        generic = netlink.read_generic(message)
        assert isinstance(generic, netlink.Generic)
        code = self.refuse.get(generic.command, 0)
        replies = [] if code else self._carry_out(message.kind, generic)
        done = encode(netlink.NLMSG_ERROR, message.sequence, struct.pack("=i", -code) + request)
        return [encode(message.kind, message.sequence, reply) for reply in replies] + [done]

    def _carry_out(self, kind: int, asked: netlink.Generic) -> list[bytes]:
        rows = asked.attributes
        if kind == netlink.GENL_ID_CTRL:
            group = netlink.pack_attribute(1, b"mlme\0") + netlink.pack_attribute(
                2, netlink.u32(6)
            )
            groups = netlink.pack_attribute(1, group)
            return [generic_payload(1, [(1, struct.pack("=H", FAMILY)), (7, groups)])]
        if asked.command in self.dumps:
            return [self.dumps[asked.command]]
        if asked.command == nl80211.CMD_GET_INTERFACE:
            rows_out = [(3, netlink.u32(IFINDEX)), (1, netlink.u32(0)), (6, MAC), (4, b"wlan0\0")]
            return [generic_payload(nl80211.CMD_NEW_INTERFACE, rows_out)]
        if asked.command == nl80211.CMD_FRAME:
            self.frames.append(rows[nl80211.ATTR_FRAME])
        elif asked.command == nl80211.CMD_REGISTER_FRAME:
            self.registered.append(rows[nl80211.ATTR_FRAME_MATCH])
        elif asked.command == nl80211.CMD_SET_WIPHY:
            level = netlink.number(rows.get(nl80211.ATTR_TX_POWER_LEVEL))
            self.powers.append(level)
        return []

    def event(self, command: int, attributes: list[tuple[int, bytes]]) -> None:
        """Tell the socket that listens of an event."""
        self.doors[-1].waiting.append(encode(FAMILY, 0, generic_payload(command, attributes)))


class FakeDoor:
    """One socket of that kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.waiting: deque[bytes] = deque()
        self.fd = os.eventfd(0)

    def fileno(self) -> int:
        return self.fd

    def send(self, data: bytes) -> int:
        self.waiting.extend(self.kernel.answer(self, data))
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.popleft()

    def join(self, group: int) -> None:
        self.kernel.joined.append(group)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def radio_of(kernel: FakeKernel) -> Nl80211Radio:
    return Nl80211Radio("wlan0", kernel.open, lambda _: IFINDEX)


def test_a_frame_leaves_from_the_interfaces_own_address_and_its_report_is_an_echo() -> None:
    kernel = FakeKernel()
    radio = radio_of(kernel)
    assert kernel.registered == [b"\x04\x09RWC"]
    assert kernel.joined == [6]
    radio.send(FRAME, 0)
    (sent,) = kernel.frames
    assert sent == MPDU[:10] + MAC + MPDU[16:]
    kernel.event(nl80211.CMD_FRAME_TX_STATUS, [(nl80211.ATTR_FRAME, sent), (nl80211.ATTR_ACK, b"")])
    (echo,) = radio.receive()
    heard = parse_frame(echo)
    assert not isinstance(heard, Refusal)
    assert (heard.payload, heard.source, heard.rssi_dbm) == (PAYLOAD, MAC, None)
    assert (radio.counts["sent"], radio.counts["send_failed"]) == (1, 0)
    radio.close()
    assert all(door.fd < 0 for door in kernel.doors)


def test_a_neighbours_frame_comes_with_level_and_channel() -> None:
    kernel = FakeKernel()
    radio = radio_of(kernel)
    rows = [
        (nl80211.ATTR_WIPHY_FREQ, netlink.u32(2437)),
        (nl80211.ATTR_RX_SIGNAL_DBM, netlink.u32(-67)),
        (nl80211.ATTR_FRAME, MPDU),
    ]
    kernel.event(nl80211.CMD_FRAME, rows)
    kernel.event(33, rows)  # a scan began: none of ours
    kernel.event(nl80211.CMD_FRAME, rows[:2])  # an event without a frame
    (frame,) = radio.receive()
    heard = parse_frame(frame)
    assert not isinstance(heard, Refusal)
    assert (heard.rssi_dbm, heard.frequency_mhz) == (-67, 2437)
    assert radio.receive() == []
    radio.close()


def test_refusals_of_the_kernel_are_counted_or_said() -> None:
    kernel = FakeKernel()
    radio = radio_of(kernel)
    kernel.refuse[nl80211.CMD_FRAME] = errno.EBUSY
    radio.send(FRAME, 3)
    counts = {name: radio.counts[name] for name in ("sent", "send_failed", "power_step_ignored")}
    assert counts == {"sent": 0, "send_failed": 1, "power_step_ignored": 1}
    radio.close()
    kernel.refuse[nl80211.CMD_REGISTER_FRAME] = errno.EPERM
    with pytest.raises(UserError, match="not permitted"):
        radio_of(kernel)
    assert all(door.fd < 0 for door in kernel.doors)


def test_beside_a_daemon_that_hears_already_a_second_one_still_sees_what_was_sent() -> None:
    kernel = FakeKernel()
    kernel.refuse[nl80211.CMD_REGISTER_FRAME] = errno.EALREADY
    radio = radio_of(kernel)
    assert radio.counts["heard_elsewhere"] == 1
    assert kernel.joined == [6]
    radio.send(FRAME, 0)
    kernel.event(nl80211.CMD_FRAME_TX_STATUS, [(nl80211.ATTR_FRAME, kernel.frames[0])])
    assert len(radio.receive()) == 1
    radio.close()


def test_a_kernel_without_nl80211_is_one_clear_error() -> None:
    kernel = FakeKernel()
    kernel.refuse[netlink.CTRL_CMD_GETFAMILY] = errno.ENOENT
    with pytest.raises(UserError, match="no nl80211"):
        radio_of(kernel)
    with pytest.raises(UserError, match=r"nl80211|such interface"):
        Nl80211Radio("lo")  # the real kernel: no nl80211 here, or no wireless interface


# --- by way of netd -------------------------------------------------------------------------------


@contextlib.contextmanager
def fake_netd(path: Path, answer: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Something that reads netd's protocol and gives one answer; what it was asked."""
    asked: list[dict[str, Any]] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def answer_all(caller: socket.socket) -> None:
        with contextlib.suppress(OSError), caller, caller.makefile("rb") as stream:
            while head := stream.read(4):
                request = stream.read(int.from_bytes(head, "big"))
                parse_request(request)
                asked.append(json.loads(request))
                caller.sendall(encode_message(answer))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                threading.Thread(target=answer_all, args=(caller,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_netd_sends_frames_and_sets_power_for_a_daemon_without_rights(tmp_path: Path) -> None:
    path = tmp_path / "netd.sock"
    with fake_netd(path, {"ok": True}) as asked:
        assert has_netd(path)
        radio = PoweredRadio(NetdRadio("w0", path, MAC), NetdPower("w0", path), 2000, hold_s=60)
        radio.send(FRAME, 6)
        radio.close()
    verbs = [(row["verb"], row.get("cdbm")) for row in asked]
    assert verbs == [("power", 1400), ("frame", None), ("power", 2000)]
    own = MPDU[:10] + MAC + MPDU[16:]
    assert asked[1]["frame"] == own.hex()
    assert (radio.counts["sent"], radio.counts["send_failed"]) == (1, 0)


def test_a_netd_that_refuses_or_is_away_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "netd.sock"
    refusal = {"ok": False, "field": "device", "problem": "is not netd's", "remedy": "name it"}
    with fake_netd(path, refusal):
        radio = PoweredRadio(NetdRadio("w0", path, MAC), NetdPower("w0", path), 2000, hold_s=60)
        radio.send(FRAME, 3)
        assert (radio.counts["send_failed"], radio.counts["power_step_failed"]) == (1, 1)
        radio.close()
    away = NetdRadio("w0", tmp_path / "absent", MAC)
    away.send(FRAME, 0)
    assert away.counts["send_failed"] == 1
    away.close()
    with pytest.raises(UserError, match="ip link"):
        NetdRadio("absent0", path)
    assert mac_address("lo") == bytes(6)


def test_power_is_lowered_for_the_frame_and_given_back() -> None:
    kernel = FakeKernel()
    inner = MockRadio()
    radio = PoweredRadio(inner, Wireless("wlan0", kernel.open, lambda _: 7), 1800, hold_s=60)
    radio.send(b"full", 0)
    radio.send(b"low", 6)
    radio.send(b"lower", 9)
    radio.send(b"full again", 0)
    assert kernel.powers == [1200, 900, 1800]
    assert [frame for frame, _ in inner.sent] == [b"full", b"low", b"lower", b"full again"]
    assert {step for _, step in inner.sent} == {0}
    radio.send(b"low", 3)
    kernel.refuse[nl80211.CMD_SET_WIPHY] = errno.EPERM
    radio.close()
    assert kernel.powers == [1200, 900, 1800, 1500]
    assert inner.counts["power_step_failed"] == 1


# --- what the driver counts -----------------------------------------------------------------------


def test_the_survey_shows_shares_and_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel()
    survey = b"".join(
        netlink.pack_attribute(*row)
        for row in (
            (1, netlink.u32(2437)),
            (2, b"\xa1"),
            (3, b""),
            (4, (10_000).to_bytes(8, "little")),
            (5, (2_520).to_bytes(8, "little")),
        )
    )
    station = netlink.pack_attribute(7, b"\xc3") + netlink.pack_attribute(11, netlink.u32(4))
    kernel.dumps = {
        nl80211.CMD_GET_SURVEY: generic_payload(51, [(nl80211.ATTR_SURVEY_INFO, survey)]),
        nl80211.CMD_GET_STATION: generic_payload(
            19, [(nl80211.ATTR_MAC, MAC), (nl80211.ATTR_STA_INFO, station)]
        ),
    }
    monkeypatch.setattr(
        io_survey, "Wireless", lambda name: Wireless(name, kernel.open, lambda _: IFINDEX)
    )
    said = io_survey.look("wlan0")
    assert said["channels"][0]["busy_percent"] == 25.2
    assert said["channels"][0]["noise_dbm"] == -95
    assert (said["stations"][0]["mac"], said["stations"][0]["signal_dbm"]) == (MAC.hex(":"), -61)
    assert "channel    2437 MHz" in "\n".join(io_survey.lines_of(said))
    kernel.refuse[nl80211.CMD_GET_SURVEY] = errno.EOPNOTSUPP
    with pytest.raises(UserError, match="not every driver"):
        io_survey.look("wlan0")
    assert all(door.fd < 0 for door in kernel.doors)
