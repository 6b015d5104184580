"""Programs of the system that ours must get along with: they run here, or a test says why not."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chain.draws import digest
from hotspot.radio.frame import PAYLOAD_BYTES, build_frame, find_payload

TX_RADIOTAP_BYTES, MAC_HEADER_BYTES, ACTION_BYTES = 12, 24, 5
HOSTAPD_CONFIG = """\
driver=none
interface=wvc-none
ctrl_interface={folder}
ssid=wavecomb
hw_mode=g
channel=6
"""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed; run: make system")
    return found


def our_element() -> bytes:
    """The vendor element of a beacon, as carrier B puts it into an access point's own beacons."""
    payload = (digest("a") + digest("b") + digest("c") + digest("d") + digest("e"))[:PAYLOAD_BYTES]
    frame = build_frame(payload, b"\x02\x00\x00\x00\x00\x01", 1)
    element = frame[TX_RADIOTAP_BYTES + MAC_HEADER_BYTES + ACTION_BYTES :]
    assert payload in element
    assert find_payload(element, 0, len(element)) == payload
    return element


def ask(control: Path, own: Path, command: str) -> str:
    """One command over hostapd's control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(own))
        door.settimeout(60)
        door.connect(str(control))
        door.send(command.encode())
        answer = door.recv(4096).decode()
    own.unlink()
    return answer.strip()


def test_hostapd_takes_our_element_while_it_runs(tmp_path: Path) -> None:
    config = tmp_path / "hostapd.conf"
    config.write_text(HOSTAPD_CONFIG.format(folder=tmp_path / "ctrl"))
    with (tmp_path / "log").open("w") as log:
        daemon = subprocess.Popen([program("hostapd"), str(config)], stdout=log, stderr=log)
    try:
        control = tmp_path / "ctrl" / "wvc-none"
        for _ in range(2_000):
            if control.exists() or daemon.poll() is not None:
                break
            time.sleep(0.05)
        assert control.exists(), (tmp_path / "log").read_text()
        own = tmp_path / "own"
        assert ask(control, own, "PING") == "PONG"
        assert ask(control, own, f"SET vendor_elements {our_element().hex()}") == "OK"
        assert ask(control, own, "UPDATE_BEACON") == "OK"
        assert ask(control, own, "SET vendor_elements nonsense") == "FAIL"
    finally:
        daemon.terminate()
        daemon.wait(timeout=120)


def test_the_consensus_engine_makes_a_home(tmp_path: Path) -> None:
    engine = program("cometbft")
    version = subprocess.run([engine, "version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip().startswith("0.38.")
    made = subprocess.run(
        [engine, "init", "--home", str(tmp_path)], capture_output=True, check=False
    )
    assert made.returncode == 0
    assert (tmp_path / "config" / "genesis.json").is_file()


def test_babeld_says_its_version() -> None:
    done = subprocess.run([program("babeld"), "-V"], capture_output=True, text=True, check=False)
    assert "babeld" in done.stdout + done.stderr
