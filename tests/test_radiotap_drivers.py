"""Headers as drivers write them: read back by our parser, by scapy and by tshark."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import captures
from chain.records import Refusal
from hotspot.radio import pcap, pcapng, radiotap
from hotspot.radio.frame import BAD_FCS, Beacon, Heard, build_frame, pack_beacon, parse_frame
from radio_sim.live import drivers
from radio_sim.live.drivers import MIX, PROFILES, DriverProfile, Reading

TRUTH = Path(__file__).parents[1] / ".." / "shared" / "ground-truth" / "hotspot"
FRAME = build_frame(
    pack_beacon(Beacon(bytes(32), 1, 2, bytes(16), 0x891F1D48177FFFF, 2437, 1, 3)),
    b"\x02\x11\x22\x33\x44\x55",
    1,
)
BODY = FRAME[12:]
READING = Reading(1_234_567, 1000, 2437, -61, -94, chain_spread_db=3)

readings = st.builds(
    Reading,
    tsft_us=st.integers(0, 2**64 - 1),
    rate_kbps=st.sampled_from([1000, 2000, 6000, 54_000]),
    frequency_mhz=st.sampled_from([2412, 2437, 5180, 5955]),
    signal_dbm=st.integers(-110, -10),
    noise_dbm=st.integers(-110, -60),
    chain_spread_db=st.integers(-6, 6),
)


def heard_by(profile: DriverProfile, reading: Reading = READING) -> bytes:
    tail = drivers.checksum_of(BODY) if profile.keeps_fcs else b""
    return drivers.receive_header(profile, reading) + BODY + tail


def fields_of(profile: DriverProfile) -> set[int]:
    return {bit for word in profile.words for bit in word}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@given(reading=readings)
def test_our_parser_reads_back_what_each_driver_gives_and_none_for_the_rest(
    profile: DriverProfile, reading: Reading
) -> None:
    head = radiotap.parse_radiotap(heard_by(profile, reading))
    assert isinstance(head, radiotap.Radiotap)
    given_fields = fields_of(profile)
    shown = drivers.reported_signal_dbm(profile, reading.signal_dbm)
    assert head.signal_dbm == (shown if radiotap.DBM_SIGNAL in given_fields else None)
    assert head.noise_dbm == (reading.noise_dbm if radiotap.DBM_NOISE in given_fields else None)
    assert head.tsft_us == (reading.tsft_us if radiotap.TSFT in given_fields else None)
    assert head.frequency_mhz == reading.frequency_mhz
    assert bool(head.flags & radiotap.FLAG_FCS_AT_END) == profile.keeps_fcs


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_scapy_and_our_parser_agree_on_every_profile(profile: DriverProfile) -> None:
    for reading in (READING, replace(READING, bad_fcs=True, rate_kbps=6000, frequency_mhz=5180)):
        assert captures.compare_packet(pcap.Packet(127, 0, heard_by(profile, reading))) == []
    heard = parse_frame(heard_by(profile))
    assert isinstance(heard, Heard)
    assert heard.payload == parse_frame(FRAME).payload  # type: ignore[union-attr]


def test_present_words_are_those_of_recorded_frames() -> None:
    if not TRUTH.is_dir():
        pytest.skip("captures not present: ../shared/ground-truth")
    recorded = set()
    for path in captures.find_captures(TRUTH):
        for packet in pcap.read_capture(path.read_bytes()):
            if isinstance(packet, pcap.Packet) and packet.link_type == pcap.LINK_RADIOTAP:
                words = radiotap.present_bytes(packet.data, packet.data[2] | packet.data[3] << 8)
                recorded.add(words)
    for profile in ("mac80211", "mac80211-chains"):
        words = drivers.receive_header(PROFILES[profile], READING)
        assert radiotap.present_bytes(words, len(words)) in recorded
    echo = drivers.echo_header(1000)
    assert (radiotap.present_bytes(echo, len(echo)) in recorded, len(echo)) == (True, 13)


def test_the_mix_gives_each_field_as_often_as_real_captures_do() -> None:
    assert sum(share for _, share in MIX) == 1000
    shares = {
        bit: sum(share for name, share in MIX if bit in fields_of(PROFILES[name]))
        for bit in range(12)
    }
    assert (shares[radiotap.DBM_SIGNAL], shares[radiotap.TSFT]) == (790, 100)
    assert (shares[radiotap.DBM_NOISE], shares[radiotap.ANTENNA]) == (4, 930)
    assert sum(share for name, share in MIX if PROFILES[name].keeps_fcs) == 860
    assert sum(share for name, share in MIX if len(PROFILES[name].words) > 1) == 30
    drawn = [profile.name for profile in drivers.drivers_of("mix", 4000, 7)]
    for name, share in MIX:
        assert drawn.count(name) / 4000 == pytest.approx(share / 1000, abs=0.025)
    assert drawn == [profile.name for profile in drivers.drivers_of("mix", 4000, 7)]
    assert drawn != [profile.name for profile in drivers.drivers_of("mix", 4000, 8)]


@given(st.integers(-100, -20), st.integers(-6, 6))
def test_two_antennas_add_up_to_the_combined_signal(signal_dbm: int, spread_db: int) -> None:
    one, other = drivers.chain_signals_dbm(signal_dbm, spread_db)
    total_mw = 10 ** (one / 10) + 10 ** (other / 10)
    assert 10 * math.log10(total_mw) == pytest.approx(signal_dbm, abs=1.0)
    assert one - other == spread_db


@given(st.integers(0, 2**32), st.integers(0, 500))
def test_a_damaged_frame_never_fits_its_checksum_and_our_parser_drops_it(
    number: int, receiver: int
) -> None:
    hit = drivers.damaged(BODY, 5, number, receiver)
    assert len(hit) == len(BODY) + 4
    assert hit[:2] == BODY[:2]
    assert drivers.checksum_of(hit[:-4]) != hit[-4:]
    assert hit == drivers.damaged(BODY, 5, number, receiver)
    header = drivers.receive_header(PROFILES["fcsfail"], replace(READING, bad_fcs=True))
    answer = parse_frame(header + hit)
    assert isinstance(answer, Refusal)  # for its flag, where the damage left it ours to judge


def test_a_whole_frame_that_is_marked_bad_is_refused_for_its_checksum() -> None:
    header = drivers.receive_header(PROFILES["fcsfail"], replace(READING, bad_fcs=True))
    assert parse_frame(header + BODY + drivers.checksum_of(BODY)) == BAD_FCS


def test_a_coarse_driver_shows_steps_and_its_offset() -> None:
    coarse = PROFILES["coarse"]
    shown = {drivers.reported_signal_dbm(coarse, level) for level in range(-90, -30)}
    assert all(level % 3 == 0 for level in shown)
    assert drivers.reported_signal_dbm(coarse, -55) == -60


def test_the_echo_of_a_frame_without_acknowledgement_says_so() -> None:
    head = drivers.echo_header(6000, 7, failed=True)
    words = radiotap.present_bytes(head, len(head))
    assert words is not None
    values = {bit: head[start : start + size] for bit, start, size in radiotap.walk(words)}
    assert values == {2: b"\x0c", 15: b"\x01\x00", 17: b"\x07"}


# --- tshark -------------------------------------------------------------------------------------


def tshark(path: Path, *arguments: str) -> list[list[str]]:
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed: make system")
    command = [program, "-r", str(path), "-n", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [line.split("|") for line in done.stdout.splitlines()]


@pytest.fixture
def capture_of_all(tmp_path: Path) -> Path:
    """Every profile's frame, its echo, and a frame with a bad checksum, an interface each."""
    names = list(PROFILES)
    blocks = [pcapng.file_head(names, "wavecomb")]
    for index, name in enumerate(names):
        frame = heard_by(PROFILES[name])
        blocks.append(pcapng.packet_block(index, 10**18 + index, frame, f"{index}"))
    echo = drivers.echo_header(1000, 2) + BODY
    blocks.append(pcapng.packet_block(0, 10**18 + 500, echo, "echo", pcapng.OUTBOUND))
    bad = drivers.receive_header(PROFILES["fcsfail"], replace(READING, bad_fcs=True))
    blocks.append(pcapng.packet_block(8, 10**18 + 999, bad + drivers.damaged(BODY, 1, 1, 1)))
    path = tmp_path / "drivers.pcapng"
    path.write_bytes(b"".join(blocks))
    return path


def test_tshark_finds_nothing_malformed_in_any_profile(capture_of_all: Path) -> None:
    worse = "_ws.expert.severity > 0x200000"  # notes, warnings, errors; comments are ours
    # Of an echo at 1 Mb/s tshark warns that it assumes a preamble: mac80211 gives no FLAGS there.
    usual = 'radiotap.flags.badfcs == 1 || frame.comment == "echo"'
    whole = f"(_ws.malformed || {worse}) && !({usual})"
    assert tshark(capture_of_all, "-Y", whole) == []


def test_tshark_reads_fields_interfaces_times_and_comments(capture_of_all: Path) -> None:
    wanted = "frame.interface_name frame.time_epoch frame.comment radiotap.dbm_antsignal"
    wanted += " radiotap.txflags radiotap.data_retries wlan.fcs.status wlan.sa"
    shown = [part for name in wanted.split() for part in ("-e", name)]
    options = ["-o", "wlan.check_checksum:TRUE", "-T", "fields", "-E", "separator=|"]
    rows = tshark(capture_of_all, *options, *shown)
    by_name = {row[0]: row for row in reversed(rows)}
    assert set(by_name) == set(PROFILES)
    for index, (name, profile) in enumerate(PROFILES.items()):
        row = by_name[name]
        assert row[1] == f"1000000000.{index:09d}"
        assert row[2] == str(index)
        assert row[6] == ("1" if profile.keeps_fcs else "")  # 1: the checksum is good
        assert row[7] == "02:11:22:33:44:55"
    one, other = drivers.chain_signals_dbm(-61, 3)
    assert by_name["mac80211-chains"][3] == f"-61,{one},{other}"
    echo, bad = rows[-2:]
    assert (echo[2], int(echo[4], 0), echo[5]) == ("echo", 0, "2")
    assert bad[6] == "0"


# --- The documentation --------------------------------------------------------------------------


def test_the_table_of_drivers_in_the_docs_is_the_code() -> None:
    page = (Path(__file__).parents[1] / "docs" / "live.md").read_text()
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].strip("`") in PROFILES:
            rows[cells[0].strip("`")] = (cells[1], cells[2])
    expected = {}
    for name, profile in PROFILES.items():
        start, _ = drivers.compile_words(profile.words)
        words = [int.from_bytes(start[at : at + 4], "little") for at in range(4, len(start), 4)]
        shown = " ".join(f"`{word:#x}`" for word in words)
        expected[name] = (shown, "yes" if profile.keeps_fcs else "no")
    assert rows == expected
