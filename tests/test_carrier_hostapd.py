"""Carrier B: Debian's real hostapd (driver=none) takes our element for a window, and loses it."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors_helpers import check_clear, run, wait_for

from chain.errors import UserError
from hotspot.carriers.hostapd import ANSWER_WITHIN_NS, ElementWindow, element_of, payload_of
from hotspot.carriers.io_hostapd import HostapdRadio, PairedRadio
from hotspot.carriers.io_open import open_carrier
from hotspot.carriers.spec import check_pair, parse_spec
from hotspot.config import HotspotConfig, HotspotSection, LedgerSection, RadioSection, parse_config
from hotspot.radio.frame import PAYLOAD_BYTES, build_frame
from hotspot.radio.io_radio import MockRadio
from hotspot.radio.pcap import write_pcap

CELL = "891e35a3393ffff"
PAYLOAD = bytes(range(PAYLOAD_BYTES))
FRAME = build_frame(PAYLOAD, b"\x02" + bytes(5), 5)
OWN = bytes.fromhex("dd050050f20100")  # an element that the access point has of its own
SETTINGS = "driver=none\ninterface=wvc-none\nctrl_interface={}\nssid=w\nhw_mode=g\nchannel=6\n"
MS = 1_000_000


# --- the window, without hostapd ------------------------------------------------------------------


def test_a_window_opens_with_our_element_and_closes_with_the_access_points_own() -> None:
    window = ElementWindow(OWN, window_ms=450)
    opened = window.send(PAYLOAD, 0)
    assert opened == [f"SET vendor_elements {(OWN + element_of(PAYLOAD)).hex()}", "UPDATE_BEACON"]
    assert window.handle_time(449 * MS) == []
    assert window.handle_time(450 * MS) == [f"SET vendor_elements {OWN.hex()}", "UPDATE_BEACON"]
    assert window.handle_time(900 * MS) == []


def test_answers_are_counted_by_send_and_events_are_none() -> None:
    window = ElementWindow()
    window.clear(0)
    window.send(PAYLOAD, 0)
    window.send(PAYLOAD, 0)
    for answer in ("OK\n", "OK\n", "<3>AP-STA-CONNECTED", "OK\n", "OK\n", "FAIL\n"):
        window.receive(answer)
    assert (window.done, window.failed, window.waits) == (1, 1, True)
    window.expire(ANSWER_WITHIN_NS + 1)
    assert (window.done, window.failed, window.waits) == (1, 2, False)
    window.receive("OK\n")  # an answer that nobody waits for any more
    assert (window.done, window.failed) == (1, 2)


def test_only_frames_of_ours_have_a_payload() -> None:
    assert payload_of(FRAME) == PAYLOAD
    assert payload_of(FRAME[:60]) is None


# --- the real one ---------------------------------------------------------------------------------


@contextlib.contextmanager
def hostapd(folder: Path) -> Iterator[Path]:
    """A running hostapd; its control socket."""
    program = shutil.which("hostapd", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("hostapd is not installed; run: make system")
    settings = folder / "hostapd.conf"
    settings.write_text(SETTINGS.format(folder / "c"))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, "-dd", str(settings)], stdout=log, stderr=log)
    control = folder / "c" / "wvc-none"
    try:
        wait_for("hostapd", control.exists)
        yield control
    finally:
        process.terminate()
        process.wait(timeout=120)


def elements_set(control: Path) -> list[str]:
    """The vendor elements that hostapd was told to have, by its own log, in order."""
    log = (control.parents[1] / "log").read_text()
    return re.findall(r"CTRL_IFACE SET 'vendor_elements'='([0-9a-f]*)'", log)


def test_the_real_hostapd_takes_the_element_for_a_window_and_gives_back_its_own(
    tmp_path: Path,
) -> None:
    with hostapd(tmp_path) as control:
        radio = HostapdRadio(str(control), keep=OWN, window_ms=150)
        radio.send(FRAME, 3)
        assert (radio.counts["sent"], radio.counts["send_failed"]) == (1, 0)
        assert radio.counts["power_step_ignored"] == 1
        ours = (OWN + element_of(PAYLOAD)).hex()
        expected = [OWN.hex(), ours, OWN.hex()]
        wait_for("the window's end", lambda: elements_set(control) == expected)
        radio.close()
        assert (tmp_path / "log").read_text().count("UPDATE_BEACON") >= len(expected)


def test_an_access_point_that_restarts_is_joined_again(tmp_path: Path) -> None:
    with hostapd(tmp_path) as control:
        radio = HostapdRadio(str(control), window_ms=60_000)
        radio.send(FRAME, 0)
        assert radio.counts["sent"] == 1
    radio.send(FRAME, 0)
    assert radio.counts["send_failed"] == 1
    with hostapd(tmp_path):
        radio.send(FRAME, 0)
        assert radio.counts["sent"] == 2
        radio.close()


def test_a_socket_that_is_none_of_hostapds_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ctrl_interface"):
        HostapdRadio(str(tmp_path / "absent"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mute:
        mute.bind(str(tmp_path / "mute"))
        with pytest.raises(UserError, match="ctrl_interface"):
            HostapdRadio(str(tmp_path / "mute"))


def test_a_pair_speaks_by_one_and_hears_by_the_other() -> None:
    speaks, hears = MockRadio(), MockRadio()
    pair = PairedRadio(speaks, hears)
    assert not select.select([pair], [], [], 0)[0]
    hears.feed(FRAME)
    assert select.select([pair], [], [], 1)[0]
    assert pair.receive() == [FRAME]
    pair.send(FRAME, 0)
    assert (len(speaks.sent), len(hears.sent)) == (1, 0)
    assert pair.counts["received"] == 1
    assert "mock" in pair.description
    pair.close()


# --- settings -------------------------------------------------------------------------------------


def settings_with(radio: str) -> HotspotConfig:
    return parse_config(f'{radio}\n[hotspot]\ncell = "{CELL}"\n', "test")


def test_a_radio_is_named_in_one_line_or_in_a_section() -> None:
    for kind, name in (("monitor", "wlan0mon"), ("nl80211", "wlan0"), ("replay", "a.pcap")):
        config = settings_with(f'radio = "{kind}:{name}"')
        assert (config.radio.kind, config.radio.interface) == (kind, name)
    both = 'kind = "hostapd"\ninterface = "/run/hostapd/wlan0"\nlisten = "monitor:mon0"'
    config = parse_config(f'[hotspot]\ncell = "{CELL}"\n[radio]\n{both}\n', "test")
    listener = check_pair(parse_spec("hostapd:/run/hostapd/wlan0"), config.radio.listen)
    assert str(listener) == "monitor:mon0"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('radio = "crystal:x"', "no kind of radio"),
        ('radio = "mon0"', "names no radio"),
        ('radio = "monitor:"', "names no radio"),
        ('radio = "hostapd:/run/hostapd/wlan0"', "only speak"),
        ('[radio]\nlisten = "monitor:mon1"', "hears by itself"),
        ('[radio]\nkind = "hostapd"\nlisten = "hostapd:/x"', "hears nothing"),
        ("[radio]\nwindow_ms = 50", "out of range"),
        ('[radio]\nkeep_elements = "dd0"', "no element"),
        ('[radio]\ncodec = "morse"', "unknown"),
    ],
)
def test_radios_that_cannot_be_are_refused_with_a_remedy(line: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        settings_with(line)
    assert caught.value.remedy


def test_the_settings_open_the_pair_that_they_name(tmp_path: Path) -> None:
    (tmp_path / "air.pcap").write_bytes(write_pcap([(0, FRAME)]))
    with hostapd(tmp_path) as control:
        section = RadioSection(
            kind="hostapd", interface=str(control), listen=f"replay:{tmp_path / 'air.pcap'}"
        )
        config = HotspotConfig(HotspotSection(cell=CELL), section, LedgerSection())
        radio = open_carrier(config)
        assert radio.receive() == [FRAME]
        radio.send(FRAME, 0)
        deadline = time.monotonic() + 60
        while radio.counts["sent"] == 0 and time.monotonic() < deadline:
            radio.receive()
        assert radio.counts["sent"] == 1
        radio.close()


def test_a_new_hotspot_may_name_its_radio(tmp_path: Path) -> None:
    where = ("--lat", "40.7", "--lon", "-74.0", "--radio", "nl80211:wlan0")
    assert run("hotspot", "init", "--dir", tmp_path / "spot", *where).code == 0
    config = parse_config((tmp_path / "spot" / "hotspot.toml").read_text(), "test")
    assert (config.radio.kind, config.radio.interface) == ("nl80211", "wlan0")
    odd = ("--lat", "40.7", "--lon", "-74.0", "--radio", "crystal:x")
    check_clear(run("hotspot", "init", "--dir", tmp_path / "odd", *odd), "--radio")
    assert not (tmp_path / "odd").exists()
