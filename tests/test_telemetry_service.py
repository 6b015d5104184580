"""Routing in a gateway: telemetry joined, kept over restarts, bounded; models and plans wired."""

import sys
from dataclasses import replace

import pytest

from chain.errors import UserError
from routing.forecast.far import FarForecaster
from routing.io_cli import main as routing_main
from routing.io_service import MAX_LINKS, RoutingService, RoutingSettings
from routing.telemetry.history import History
from routing.telemetry.io_telemetry import read_telemetry
from routing.telemetry.long_history import LongHistory, Row
from routing.telemetry.recorder import OwnLinks, Recorder
from routing.telemetry.second import FIELDS
from routing.types import FlowClass, LinkSample, ProviderState

MINUTE = 60_000


def sample(source, target, time_ms, busy=100, load=1_000):
    return LinkSample(source, target, time_ms, 20_000, load, busy, 0, 0, 3_000)


def provider(hotspot, running=2, waiting=1):
    return ProviderState(hotspot, ("m",), running, waiting, 10, 1, 0, 1)


def numbers(history, link):
    return [{name: getattr(row, name) for name in FIELDS} for row in history.of(link)]


def test_a_row_joins_sender_neighbours_far_end_and_own_counters():
    near, long = History(), LongHistory()
    near.extend([sample(1, 2, 5_000, 100), sample(2, 1, 5_000, 700), sample(3, 1, 5_000, 300)])
    own = OwnLinks(flows={(1, 2): 4}, job_bytes={(1, 2): 9_000})
    assert Recorder(long).take(near, [provider(2)], own) == 3
    long.finish_before(MINUTE)
    (row,) = numbers(long, (1, 2))
    assert row["neighbour_busy_permille"] == 700
    assert (row["flows"], row["job_bytes"]) == (4, 9_000)
    assert (row["ai_running"], row["ai_waiting"]) == (2, 1)
    (back,) = numbers(long, (2, 1))
    assert (back["neighbour_busy_permille"], back["ai_running"], back["flows"]) == (100, 0, 0)


def test_a_sample_counts_once_however_often_it_is_looked_at():
    near, long = History(), LongHistory()
    recorder = Recorder(long)
    for second in range(60):
        if second % 10 == 0:
            near.add(sample(1, 2, second * 1_000, load=100 * second))
        recorder.take(near)
    long.finish_before(MINUTE)
    assert [row.load_kbps for row in long.of((1, 2))] == [2_500]


def test_old_news_about_neighbours_is_not_taken_for_new():
    near, long = History(), LongHistory()
    near.add(sample(2, 1, 1_000, 900))
    near.add(sample(1, 2, 200_000, 100))
    Recorder(long).take(near)
    long.finish_before(10 * MINUTE)
    assert [row.neighbour_busy_permille for row in long.of((1, 2))] == [0]


def fed(service, minutes, start_ms=0, links=((1, 2), (2, 1))):
    """Run a service for some minutes and write what it wants written."""
    for second in range(0, 60 * minutes, 5):
        now_ms = start_ms + 1_000 * second
        service.router.observe([sample(*link, now_ms) for link in links], now_ms)
        service.write(service.tick(now_ms, []), now_ms)


def test_a_restart_forgets_nothing_but_the_minute_that_was_open(tmp_path):
    settings = RoutingSettings(telemetry="kept")
    first = RoutingService(settings, tmp_path)
    fed(first, 10)
    first.close(10 * MINUTE - 1)
    second = RoutingService(settings, tmp_path)
    assert second.restored == 2 * 9
    assert numbers(second.long, (1, 2)) == numbers(first.long, (1, 2))
    fed(second, 5, 10 * MINUTE)
    assert [row.time_ms // MINUTE for row in second.long.of((1, 2))] == [*range(9), *range(10, 14)]
    assert second.status(15 * MINUTE)["telemetry"] == {"links": 2, "minutes": 26}


def test_a_reader_beside_a_running_gateway_changes_nothing(tmp_path):
    service = RoutingService(RoutingSettings(telemetry="kept"), tmp_path)
    fed(service, 5)
    (path,) = (tmp_path / "kept").iterdir()
    with path.open("ab") as file:
        file.write(b"WCH1 half a block")
    before = path.read_bytes()
    assert read_telemetry(tmp_path / "kept").links() == [(1, 2), (2, 1)]
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="no such folder"):
        read_telemetry(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no minute yet"):
        read_telemetry(tmp_path / "empty")


def test_memory_is_bounded_by_links_and_the_folder_by_days(tmp_path):
    service = RoutingService(RoutingSettings(telemetry="kept"), tmp_path)
    many = tuple((n, n + 1) for n in range(3 * MAX_LINKS))
    fed(service, 3, links=many)
    assert len(service.long.links()) == MAX_LINKS
    for day in range(1, 15):
        fed(service, 3, day * 86_400_000)
    assert len(list((tmp_path / "kept").iterdir())) <= 10


def test_a_full_disk_loses_a_minute_and_says_so(tmp_path, monkeypatch):
    said = []
    service = RoutingService(RoutingSettings(telemetry="kept"), tmp_path, said.append)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(service._folder, "write", full)
    fed(service, 3)
    assert "No space left" in said[0]
    assert service.router.path(1, 2, FlowClass.AI, 3 * MINUTE).hops == (1, 2)


def test_without_a_folder_nothing_is_written(tmp_path):
    service = RoutingService(RoutingSettings(), tmp_path)
    fed(service, 3)
    service.close(3 * MINUTE)
    assert list(tmp_path.iterdir()) == []
    assert len(service.long.of((1, 2))) == 3


def test_own_traffic_reaches_the_planner(tmp_path):
    pytest.importorskip("highspy")
    service = RoutingService(RoutingSettings(planner=True), tmp_path)
    links = ((1, 2), (2, 3), (1, 4), (4, 3))
    both = links + tuple((b, a) for a, b in links)
    carried = 0
    for second in range(60):
        now_ms = 1_000 * second
        service.router.observe([sample(*link, now_ms) for link in both], now_ms)
        path = service.router.path(1, 3, FlowClass.BEST_EFFORT, now_ms)
        carried += 1_500_000
        service.tick(now_ms, [(7, path.hops, carried)])
    plan = service.status(60_000)["plan"]
    assert plan["expert"] in ("shortest_path", "no_model", "scenarios")
    assert service.router._desk.demands[1, 3] == pytest.approx(12_000, rel=0.2)
    # A new connection under another number starts from nothing, and is no negative demand.
    service.tick(61_000, [(8, path.hops, 500)])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of seconds and one of minutes, trained by the command on small worlds."""
    folder = tmp_path_factory.mktemp("models")
    header = ",".join(LinkSample.__dataclass_fields__)
    for name, step_ms in (("near", 1_000), ("far", MINUTE)):
        rows = [header]
        for step in range(600):
            load = 4_000 + 3_000 * (step // 20 % 2) + 37 * (step % 11)
            state = f"{step * step_ms},20000,{load},300,0,0,900"
            rows += [f"1,2,{state}", f"2,1,{state}"]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
        out = ["-o", str(folder / f"{name}.json"), "--rounds", "5", "--horizons", "10", "--json"]
        assert routing_main(["train", "--data", str(folder / f"{name}.csv"), *out]) == 0
    return folder


def test_near_and_far_models_forecast_together_from_one_memory(models, capsys):
    settings = RoutingSettings(forecaster="near.json", far_forecaster="far.json")
    service = RoutingService(settings, models)
    far = service.router._forecaster
    assert isinstance(far, FarForecaster)
    for second in range(0, 80 * 60):
        if second % 60 == 0 or second > 79 * 60 - 5:
            now_ms = 1_000 * second
            service.router.observe([sample(1, 2, now_ms), sample(2, 1, now_ms)], now_ms)
            service.tick(now_ms, [])
    assert len(service.long.of((1, 2))) == 79
    for second in range(80 * 60, 80 * 60 + 60):
        now_ms = 1_000 * second
        service.router.observe([sample(1, 2, now_ms), sample(2, 1, now_ms)], now_ms)
        service.tick(now_ms, [])
    forecast = service.router.forecasts[1, 2]
    assert forecast.horizons_ms == (10_000, 600_000)
    assert len(service.long.of((1, 2))) == 80
    capsys.readouterr()


def test_a_far_model_that_is_none_is_named(models):
    settings = RoutingSettings(forecaster="near.json", far_forecaster="near.json")
    with pytest.raises(UserError, match="far model"):
        RoutingService(settings, models)


def test_missing_libraries_are_said_and_cost_only_plans(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    said = []
    service = RoutingService(RoutingSettings(planner=True), tmp_path, said.append)
    assert "highspy is not installed" in said[0]
    fed(service, 1)
    assert service.status(MINUTE)["plan"] == {"problem": "no planner"}
    assert replace(service.router.path(1, 2, FlowClass.AI, MINUTE), cost_us=0).hops == (1, 2)


# Insights of a running gateway.


def remembered(service, hours=30):
    """Fill a service's memory with a quiet chain 1 - 2 - 3."""
    order = {name: at for at, name in enumerate(FIELDS)}
    for minute in range(60 * hours):
        for link in ((1, 2), (2, 1), (2, 3), (3, 2)):
            numbers = [0] * len(FIELDS)
            for name, value in (("rate_kbps", 20_000), ("load_kbps", 500), ("rtt_us", 3_000)):
                numbers[order[name]] = value
            service.long.restore(Row(MINUTE * minute, link, tuple(numbers)))


def test_a_gateway_tells_insights_and_looks_anew_every_ten_minutes(tmp_path):
    service = RoutingService(RoutingSettings(), tmp_path)
    remembered(service)
    now_ms = 30 * 60 * MINUTE
    slow = [sample(a, b, now_ms) for a, b in ((1, 2), (2, 3), (3, 9), (9, 3))]
    service.router.observe([replace(one, queue_bytes=200_000) for one in slow], now_ms)
    find = service.insights(1, now_ms, [provider(9)])
    (row,) = find()
    assert (row["kind"], row["hotspot"]) == ("far-provider", 1)
    assert row["numbers"]["hops"] == 3.0
    assert service.insights(1, now_ms + MINUTE)() == [row]
    assert service.insights(1, now_ms + 10 * MINUTE)() == []


def test_a_thread_looks_at_a_copy(tmp_path):
    service = RoutingService(RoutingSettings(), tmp_path)
    remembered(service, hours=26)
    find = service.insights(1, 26 * 60 * MINUTE)
    remembered(service, hours=30)
    assert find() == []


def test_an_empty_memory_and_missing_libraries_give_none(tmp_path, monkeypatch):
    said = []
    service = RoutingService(RoutingSettings(), tmp_path, said.append)
    assert service.insights(1, 0)() == []
    monkeypatch.setitem(sys.modules, "routing.insights.grid", None)
    assert service.insights(1, 10 * MINUTE)() == []
    assert "no insights" in said[0]
