from __future__ import annotations

import csv
import json
import socket
import threading
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import draws, keys
from chain.records import Reception, Refusal, Transfer
from chain.rules.verdicts import REASONS
from chain.wire import decode, unpack_receptions
from hotspot import io_map
from hotspot.io_map import Drive, Gpsd, load_state, save_state
from hotspot.mapper import (
    FIX_GAP_MS,
    Fix,
    Mapper,
    Track,
    commit_wire,
    pack_stops,
    parse_gpsd,
    parse_gpx,
    parse_track_csv,
    report_wire,
    unpack_stops,
)
from hotspot.node import beacon_verifier
from hotspot.radio.frame import Beacon, Heard, build_frame, pack_beacon, signing_message
from hotspot.radio.pcap import write_pcap
from hotspot.radio.radiotap import build_received

from .chain_helpers import FREQUENCY_MHZ, Town
from .rewards_helpers import Mapper as Plausible
from .rewards_helpers import Recorder, recorded_town

EPOCH = 4


def cell_at(latitude: float, longitude: float) -> int:
    return int(h3.latlng_to_cell(latitude, longitude, 9), 16)


class Secrets:
    """Distinct bytes, the same every time."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return draws.digest("test", self.count.to_bytes(4, "big"))[:size]


def machine(town: Town) -> Mapper:
    directory = {keys.public_key(seed): k for k, seed in enumerate(town.keys)}
    return Mapper(
        town.network_id, directory, town.start_ms, town.params.epoch_ms, cell_at,
        beacon_verifier(town.network_id), Secrets(),
    )  # fmt: skip


def payload_of(town: Town, index: int, epoch: int = EPOCH, sequence: int = 0) -> bytes:
    """What a hotspot really sends."""
    key = keys.public_key(town.keys[index])
    answer = draws.answer(town.secret(index, epoch), epoch, sequence)
    cell = town.places[index][0]
    plain = pack_beacon(Beacon(key, epoch, sequence, answer, cell, FREQUENCY_MHZ, 1, 5))
    signature = keys.sign_message(town.keys[index], signing_message(town.network_id, plain))
    return plain[:-64] + signature


def heard_of(town: Town, index: int, epoch: int = EPOCH) -> Heard:
    """That beacon as a phone beside hotspot 1 hears it."""
    level = Plausible(town).hear(EPOCH, [index])[0].rssi_cdbm // 100
    return Heard(payload_of(town, index, epoch), b"", level, None, None, FREQUENCY_MHZ)


def track_of(town: Town, epoch: int = EPOCH) -> Track:
    _, latitude, longitude = town.places[1]
    times = (town.time_ms(epoch), town.time_ms(epoch + 1))
    step = 5_000
    return Track([Fix(t, latitude / 1e6, longitude / 1e6) for t in range(*times, step)])


@pytest.fixture
def town() -> tuple[Town, Recorder]:
    town, recorder = recorded_town()
    town.run(2, EPOCH - 1)
    town.run_epoch(EPOCH)
    return town, recorder


# ---- positions


def test_between_two_fixes_the_way_is_straight_and_far_from_any_it_is_unknown() -> None:
    track = Track([Fix(0, 47.0, 8.0), Fix(10_000, 47.001, 8.002)])
    assert track.at(5_000) == pytest.approx((47.0005, 8.001))
    assert track.at(-FIX_GAP_MS) == (47.0, 8.0)
    assert track.at(10_001 + FIX_GAP_MS) is None


def test_across_the_date_line_and_out_of_order() -> None:
    track = Track()
    for fix in (Fix(10_000, 0.0, -179.999), Fix(0, 0.0, 179.999)):
        track.add(fix)
    place = track.at(5_000)
    assert place is not None
    assert abs(abs(place[1]) - 180.0) < 1e-9


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=30), st.integers(0, 200_000))
@settings(max_examples=60, deadline=None)
def test_a_position_lies_between_its_fixes(times: list[int], asked: int) -> None:
    track = Track()
    for time_ms in times:
        track.add(Fix(time_ms, time_ms / 1e4, 8.0))
    place = track.at(asked)
    near = min(abs(t - asked) for t in times)
    assert (place is None) == (near > FIX_GAP_MS)
    if place is not None:
        assert min(times) / 1e4 - 1e-9 <= place[0] <= max(times) / 1e4 + 1e-9
    track.forget_before(asked)
    after = track.at(asked)
    if place is not None and after is not None:
        assert after == pytest.approx(place, abs=FIX_GAP_MS / 1e4)


def test_gpsd_lines() -> None:
    line = b'{"class":"TPV","mode":3,"time":"2026-11-23T10:00:00.500Z","lat":47.1,"lon":8.2}'
    assert parse_gpsd(line) == Fix(1_795_428_000_500, 47.1, 8.2)
    for other in (b'{"class":"SKY"}', b'{"class":"TPV","mode":1}', b"", b"{", b"[]", b"1",
                  b'{"class":"TPV","mode":3,"time":"x","lat":1,"lon":2}',
                  b'{"class":"TPV","mode":3,"time":"2026-11-23T10:00:00Z","lat":91,"lon":2}'):
        assert parse_gpsd(other) is None  # fmt: skip


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_whatever_gpsd_sends_is_a_fix_or_nothing(line: bytes) -> None:
    parse_gpsd(line)


def test_logs_of_two_kinds_say_the_same() -> None:
    gpx = (
        '<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
        '<trkpt lat="47.1" lon="8.2"><ele>4</ele><time>2026-11-23T10:00:05Z</time></trkpt>'
        '<trkpt lat="47.0" lon="8.1"><time>2026-11-23T10:00:00Z</time></trkpt>'
        '<trkpt lat="47.0" lon="8.1"/></trkseg></trk></gpx>'
    )
    rows = [
        {"Time": "1795428000", "Lat": "47.0", "lon": "8.1"},
        {"timestamp": "2026-11-23T10:00:05", "latitude": "47.1", "longitude": "8.2"},
        {"time": "", "lat": "1", "lon": "2"},
    ]
    expected = [Fix(1_795_428_000_000, 47.0, 8.1), Fix(1_795_428_005_000, 47.1, 8.2)]
    assert parse_gpx(gpx) == expected
    assert parse_track_csv([{k.lower(): v for k, v in row.items()} for row in rows]) == expected
    for bad in ("", "<gpx/>", "<a", "<!DOCTYPE a [<!ENTITY b 'c'>]><gpx/>"):
        assert isinstance(parse_gpx(bad), Refusal)


# ---- what is signed


def test_what_is_heard_on_the_way_counts_on_the_ledger(town: tuple[Town, Recorder]) -> None:
    place, recorder = town
    mapper, track = machine(place), track_of(place)
    now = place.time_ms(EPOCH, 2_000)
    for index in (0, 2):
        assert isinstance(mapper.hear(heard_of(place, index), now, track), Reception)
    stops = list(mapper.closing(place.time_ms(EPOCH, 9_500), place.params.message_lead_ms))
    assert len(stops) == 1
    committed = decode(commit_wire(stops[0], place.network_id))
    assert not isinstance(committed, Refusal)
    assert place.submit(committed)[0].accepted
    place.run_epoch(EPOCH + 1)
    stops[0].state = "committed"
    assert mapper.reportable(EPOCH + 1) == stops
    reported = decode(report_wire(stops[0], place.network_id))
    assert not isinstance(reported, Refusal)
    assert place.submit(reported)[0].accepted
    place.ledger.tick(place.time_ms(EPOCH + 2))
    codes = [REASONS[code] for mapped in recorder.mapped for code in mapped.codes]
    assert codes == ["counted", "counted"]


def test_every_cell_and_epoch_has_a_key_of_its_own(town: tuple[Town, Recorder]) -> None:
    place, _ = town
    mapper = machine(place)
    for k, (east, epoch) in enumerate(((0.0, EPOCH), (0.02, EPOCH), (0.0, EPOCH + 1))):
        _, latitude, longitude = place.places[1]
        now = place.time_ms(epoch, 1_000 + k)
        track = Track([Fix(now, latitude / 1e6, longitude / 1e6 + east)])
        assert isinstance(mapper.hear(heard_of(place, 0, epoch), now, track), Reception)
    seeds = {stop.seed for stop in mapper.stops.values()}
    salts = {stop.salt for stop in mapper.stops.values()}
    assert len(seeds) == len(salts) == len(mapper.stops) == 3


def test_nothing_finer_than_the_cell_leaves_the_phone(town: tuple[Town, Recorder]) -> None:
    place, _ = town
    _, latitude, longitude = place.places[1]
    wires = []
    for shift in (0.0, 0.0004):
        mapper, now = machine(place), place.time_ms(EPOCH, 1_000)
        track = Track([Fix(now, latitude / 1e6 + shift, longitude / 1e6)])
        mapper.hear(heard_of(place, 0), now, track)
        stop = next(iter(mapper.stops.values()))
        wires.append((commit_wire(stop, place.network_id), report_wire(stop, place.network_id)))
    assert wires[0] == wires[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [("key", "unknown_hotspot"), ("epoch", "other_epoch"), ("fix", "no_fix"),
     ("signature", "bad_signature"), ("version", "bad_version")],
)  # fmt: skip
def test_what_can_not_be_used_says_why(
    town: tuple[Town, Recorder], change: str, reason: str
) -> None:
    place, _ = town
    mapper, track, now = machine(place), track_of(place), place.time_ms(EPOCH, 2_000)
    heard = heard_of(place, 0)
    if change == "key":
        mapper.directory = {}
    elif change == "epoch":
        now = place.time_ms(EPOCH + 1, 100)
    elif change == "fix":
        track = Track()
    elif change == "signature":
        heard = heard._replace(payload=heard.payload[:-1] + bytes([heard.payload[-1] ^ 1]))
    else:
        heard = heard._replace(payload=b"\x09" + heard.payload[1:])
    found = mapper.hear(heard, now, track)
    assert isinstance(found, Refusal)
    assert found.reason == reason
    assert mapper.stops == {}
    assert mapper.counts == {reason: 1}


def test_one_beacon_heard_twice_is_one_reception_and_closed_cells_take_none(
    town: tuple[Town, Recorder],
) -> None:
    place, _ = town
    mapper, track = machine(place), track_of(place)
    now = place.time_ms(EPOCH, 2_000)
    mapper.hear(heard_of(place, 0), now, track)
    mapper.hear(heard_of(place, 0), now + 10, track)
    stop = next(iter(mapper.stops.values()))
    assert len(unpack_receptions(stop.report())) == 1
    assert list(mapper.closing(place.time_ms(EPOCH, 100), 1_000)) == []
    assert list(mapper.closing(place.time_ms(EPOCH + 1, -500), 1_000)) == [stop]
    late = mapper.hear(heard_of(place, 2), now, track)
    assert isinstance(late, Refusal)
    assert late.reason == "closed"
    assert mapper.missed(EPOCH + 1) == [stop]


def test_stops_come_back_from_their_json(town: tuple[Town, Recorder]) -> None:
    place, _ = town
    mapper = machine(place)
    mapper.hear(heard_of(place, 0), place.time_ms(EPOCH, 2_000), track_of(place))
    rows = json.loads(json.dumps(pack_stops(mapper.stops.values())))
    assert unpack_stops(rows) == mapper.stops


# ---- the command


class Client:
    """The town's ledger, as the client of a service sees it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.sent: list[Any] = []

    def head(self) -> Any:
        state = self.town.ledger.state
        return SimpleNamespace(
            network_id=self.town.network_id, preset=self.town.preset, start_ms=self.town.start_ms,
            epoch_ms=self.town.params.epoch_ms, epoch=state.epoch,
        )  # fmt: skip

    def hotspots(self) -> list[Any]:
        return [
            SimpleNamespace(index=k, key=keys.public_key(self.town.keys[k]), latitude_udeg=p[1],
                            longitude_udeg=p[2], height_m=10)
            for k, p in enumerate(self.town.places)
        ]  # fmt: skip

    def submit(self, wires: list[bytes]) -> Any:
        records = [decode(raw) for raw in wires]
        self.sent += records
        return self.town.submit(*[r for r in records if not isinstance(r, Refusal)])

    def get(self, _path: str) -> Any:
        return {"balance_ucr": 700, "nonce": 0}


def options_of(folder: Path, **given: Any) -> Namespace:
    empty: dict[str, Any] = {"gpsd": None, "track": None, "interface": None, "capture": None,
                             "seconds": 3.0, "csv": None, "finish": False, "collect_to": None,
                             "json": True, "ledger": "",
                             "state": folder / "mapper.json"}  # fmt: skip
    return Namespace(**{**empty, **given})


def write_logs(town: Town, folder: Path) -> None:
    _, latitude, longitude = town.places[1]
    seconds = range(town.time_ms(EPOCH) // 1000, town.time_ms(EPOCH + 1) // 1000, 5)
    rows = [f"{s},{latitude / 1e6},{longitude / 1e6}" for s in seconds]
    (folder / "walk.csv").write_text("\n".join(["time,lat,lon", *rows]))
    packets = []
    for index in (0, 2):
        heard = heard_of(town, index)
        frame = build_frame(heard.payload, b"\x02" + bytes(5), 0)
        whole = build_received(FREQUENCY_MHZ, heard.rssi_dbm) + frame[12:]
        packets.append((town.time_ms(EPOCH, 2_000) * 1_000_000, whole))
    (folder / "walk.pcap").write_bytes(write_pcap(packets))


def test_a_drive_that_was_stopped_is_reported_by_the_next_run(
    town: tuple[Town, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place, recorder = town
    client: Any = Client(place)
    write_logs(place, tmp_path)
    now = [place.time_ms(EPOCH, 4_000)]
    monkeypatch.setattr(io_map, "_now_ms", lambda: now[0])
    monkeypatch.setattr(io_map, "RETRY_S", 0.0)
    sources = {"track": tmp_path / "walk.csv", "capture": tmp_path / "walk.pcap"}
    drive = Drive(options_of(tmp_path, **sources, csv=tmp_path / "drive.csv"), client)
    assert drive.run() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["counts"] == {"heard": 2, "committed_accepted": 1}
    assert said["stops"] == {"committed": 1}
    assert (tmp_path / "mapper.json").stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader((tmp_path / "drive.csv").read_text().splitlines()))
    assert [row["tx_lat"] for row in rows] == [f"{place.places[k][1] / 1e6}" for k in (0, 2)]
    place.run_epoch(EPOCH + 1)
    now[0] = place.time_ms(EPOCH + 1, 3_000)
    again = Drive(options_of(tmp_path, finish=True), client)
    assert again.run() == 0
    assert json.loads(capsys.readouterr().out)["stops"] == {"done": 1}
    place.ledger.tick(place.time_ms(EPOCH + 2))
    assert [REASONS[c] for m in recorder.mapped for c in m.codes] == ["counted", "counted"]


def test_what_the_keys_earned_is_sent_on(
    town: tuple[Town, Recorder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = town
    mapper = machine(place)
    mapper.hear(heard_of(place, 0), place.time_ms(EPOCH, 2_000), track_of(place))
    save_state(tmp_path / "mapper.json", place.network_id, list(mapper.stops.values()))
    client: Any = Client(place)
    assert Drive(options_of(tmp_path, collect_to="ab" * 32), client).collect() == 0
    transfer = client.sent[0].record
    stop = next(iter(mapper.stops.values()))
    assert transfer == Transfer(keys.public_key(stop.seed), b"\xab" * 32, 700, 1, "")
    capsys.readouterr()


def test_a_state_file_of_another_network_is_left_alone(tmp_path: Path) -> None:
    save_state(tmp_path / "mapper.json", bytes(32), [])
    with pytest.raises(Exception, match="another network"):
        load_state(tmp_path / "mapper.json", b"\x01" * 32)
    (tmp_path / "mapper.json").write_text("{]")
    with pytest.raises(Exception, match="can't be read"):
        load_state(tmp_path / "mapper.json", bytes(32))


def test_a_gpsd_that_hangs_up_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib

    monkeypatch.setattr(io_map, "RETRY_S", 0.0)
    line = b'{"class":"TPV","mode":2,"time":"2026-11-23T10:00:00Z","lat":47,"lon":8}\n'
    door = socket.create_server(("127.0.0.1", 0))
    asked = []

    def answer() -> None:
        for _ in range(2):
            peer, _address = door.accept()
            with peer:
                asked.append(peer.recv(100))
                peer.sendall(b'{"class":"VERSION"}\n' + line[:20])
                peer.sendall(line[20:])

    server = threading.Thread(target=answer)
    server.start()
    with contextlib.ExitStack() as closing:
        gpsd = Gpsd(f"127.0.0.1:{door.getsockname()[1]}", closing)
        fixes: list[Any] = []
        deadline = time.monotonic() + 60
        while len(fixes) < 2 and time.monotonic() < deadline:
            fixes += gpsd.fixes()
    server.join()
    door.close()
    assert fixes[:2] == [Fix(1_795_428_000_000, 47.0, 8.0)] * 2
    assert all(b"WATCH" in question for question in asked)


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:1"])
def test_no_gpsd_is_one_clear_line(where: str) -> None:
    import contextlib

    with pytest.raises(Exception, match=r"--gpsd: .*; "), contextlib.ExitStack() as closing:
        Gpsd(where, closing)
