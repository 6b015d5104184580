"""netd's door: four verbs, read strictly, and a plan that is in force for as long as its lease."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import base_plan

from chain.errors import UserError
from hotspot.netd.asking import MS
from hotspot.netd.io_cli import main
from hotspot.netd.plans import Netd, Settings
from hotspot.netd.protocol import (
    LENGTH,
    Apply,
    Frame,
    Power,
    Read,
    encode,
    is_our_frame,
    parse_request,
)
from hotspot.netd.service import systemd_unit
from hotspot.radio.frame import build_frame
from routing.kernel.desired import Neighbour, Place
from routing.kernel.nodeplan import MULTIPATH, plan_to_json
from routing.kernel.state import KernelState, Marking

OURS = build_frame(bytes(141), b"\x02\x11\x22\x33\x44\x55", 1)[12:]
PLAN = base_plan(3)


def body(message: Any) -> bytes:
    return json.dumps(message).encode()


def test_the_four_verbs_are_understood() -> None:
    apply = parse_request(body({"verb": "apply", "plan": plan_to_json(PLAN)}))
    assert apply == Apply(PLAN)
    assert parse_request(body({"verb": "apply", "plan": None})) == Apply(None)
    assert parse_request(body({"verb": "read", "what": "status"})) == Read("status")
    survey = {"verb": "read", "what": "survey", "device": "wlan0"}
    assert parse_request(body(survey)) == Read("survey", "wlan0")
    power = {"verb": "power", "device": "wlan0", "cdbm": 1_700}
    assert parse_request(body(power)) == Power("wlan0", 1_700)
    frame = {"verb": "frame", "device": "wlan0", "mhz": 2_437, "frame": OURS.hex()}
    assert parse_request(body(frame)) == Frame("wlan0", 2_437, OURS)


@pytest.mark.parametrize(
    "message",
    [
        [],
        {},
        {"verb": "delete"},
        {"verb": ["apply"]},
        {"verb": "apply"},
        {"verb": "apply", "plan": None, "force": True},
        {"verb": "apply", "plan": {"version": 1}},
        {"verb": "read", "what": "/etc/shadow"},
        {"verb": "read", "what": "status", "device": "wlan0"},
        {"verb": "read", "what": "survey"},
        {"verb": "read", "what": "survey", "device": "../wlan0"},
        {"verb": "power", "device": "wlan0"},
        {"verb": "power", "device": "wlan0", "cdbm": 9_999},
        {"verb": "power", "device": "wlan0", "cdbm": 17.5},
        {"verb": "frame", "device": "wlan0", "mhz": 100, "frame": OURS.hex()},
        {"verb": "frame", "device": "wlan0", "frame": "zz"},
    ],
)
def test_anything_else_is_refused_with_the_name_of_the_field(message: Any) -> None:
    with pytest.raises(UserError) as caught:
        parse_request(body(message))
    assert caught.value.field
    assert caught.value.remedy


def test_only_our_own_kind_of_frame_is_sent_for_others() -> None:
    assert is_our_frame(OURS)
    assert not is_our_frame(b"\xc0" + OURS[1:])  # a deauthentication
    assert not is_our_frame(OURS[:4] + b"\x02" * 6 + OURS[10:])  # to one station
    assert not is_our_frame(OURS[:24] + b"\x03" + OURS[25:])  # another category
    assert not is_our_frame(OURS + b"\xdd\x00")  # something behind
    assert not is_our_frame(OURS[:26] + b"\x00\x50\xf2" + OURS[29:])  # another vendor
    assert not is_our_frame(b"")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_message_breaks_it(data: bytes) -> None:
    with pytest.raises(UserError):
        parse_request(data)


def test_a_message_is_its_length_and_json() -> None:
    data = encode({"verb": "read", "what": "status"})
    assert LENGTH.unpack_from(data)[0] == len(data) - LENGTH.size
    assert parse_request(data[LENGTH.size :]) == Read("status")


# --- the machine ----------------------------------------------------------------------------------


def make_netd(**rest: Any) -> Netd:
    return Netd(Settings(Place(("mesh0",), ("ap0",)), **rest), boot=1)


def nobody(device: str, address: str) -> Neighbour:
    return Neighbour(device, address)


def test_a_plan_is_in_force_until_its_lease_is_over() -> None:
    netd = make_netd()
    netd.apply(PLAN, 0)
    assert isinstance(netd.wanted(nobody).marking, Marking)
    netd.tick(PLAN.lease_ms * MS - 1)
    assert netd.plan is PLAN
    before = netd.changes
    netd.tick(PLAN.lease_ms * MS)
    assert netd.plan is None
    assert netd.changes > before
    assert netd.wanted(nobody) == KernelState(access=("ap0",), demand=("mesh0",))


def test_the_same_plan_renews_the_lease_and_changes_nothing() -> None:
    netd = make_netd()
    netd.apply(PLAN, 0)
    before = netd.changes
    netd.apply(PLAN, 5_000 * MS)
    assert netd.changes == before
    netd.tick(PLAN.lease_ms * MS)
    assert netd.plan == PLAN


def test_a_plan_that_was_overtaken_is_refused() -> None:
    netd = make_netd()
    netd.apply(replace(PLAN, version=5), 0)
    with pytest.raises(UserError, match="version"):
        netd.apply(replace(PLAN, version=4), 0)
    with pytest.raises(UserError, match="another content"):
        netd.apply(replace(PLAN, version=5, lease_ms=2_000), 0)


def test_devices_that_are_not_netds_are_refused() -> None:
    netd = make_netd()
    with pytest.raises(UserError, match="eth0"):
        netd.apply(replace(PLAN, rates_kbps=(("eth0", 1_000),)), 0)
    assert netd.plan is None


def test_segments_are_refused_where_the_kernel_has_none() -> None:
    netd = make_netd(fixed_mode=MULTIPATH)
    with pytest.raises(UserError, match="segment routing"):
        netd.apply(PLAN, 0)
    netd.apply(base_plan(3, MULTIPATH), 0)


# --- the command ----------------------------------------------------------------------------------


def test_what_netd_does_not_run_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start it: wavecomb hotspot netd run"):
        main(["show", "--socket", str(tmp_path / "none.sock")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mesh", "m0", "--access", "m0"], "is of the mesh"),
        (["--mesh", "m0", "--hello-ms", "1"], "1 ms"),
        (["--mesh", "no such device"], "names no network device"),
    ],
)
def test_settings_that_can_not_be_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main(["service", *words])


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "mesh.secret"
    secret.write_text("short\n")
    with pytest.raises(UserError, match="holds 5 bytes"):
        main(["service", "--mesh", "m0", "--secret-file", str(secret)])


def test_the_unit_gives_one_capability(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["service", "--mesh", "mesh0", "--access", "ap0", "--user", "wavecomb"]
    assert main([*words, "--command", "/usr/bin/wavecomb"]) == 0
    unit = capsys.readouterr().out
    assert "CapabilityBoundingSet=CAP_NET_ADMIN\n" in unit
    assert "hotspot netd run --mesh mesh0 --access ap0 --user wavecomb\n" in unit
    with pytest.raises(UserError, match="not absolute"):
        systemd_unit("wavecomb", Place(("mesh0",)), ())
