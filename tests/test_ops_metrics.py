"""What Prometheus reads: held against the client library's own parser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from chain import cbor
from chain.cli.io_cli import main
from chain.io_client import LedgerClient
from chain.io_metrics import SECONDS, Family, Histogram, render, type_name
from chain.io_terminal import run_command
from chain.wire import LAYOUT

from .ops_helpers import Running, town_on_disk


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    service = Running(tmp_path, town_on_disk(tmp_path), monkeypatch)
    yield service
    service.close()


def scrape(running: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    status, headers, raw = running.ask("GET", "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(raw.decode())
        for sample in family.samples
    }


def test_the_gauges_say_what_the_ledger_is(running: Running) -> None:
    found, state = scrape(running), running.durable.ledger.state
    assert found["wavecomb_epoch", ()] == state.epoch
    assert found["wavecomb_log_records", ()] == running.durable.ledger.head.record_count
    assert found["wavecomb_sessions_open", ()] == len(state.sessions)
    assert found["wavecomb_supply_ucr", (("term", "deposited"),)] == state.supply.deposited
    assert found["wavecomb_supply_ucr", (("term", "conserved"),)] == 1
    assert found["wavecomb_up", ()] == 1
    assert found["wavecomb_database_bytes", ()] > 10_000


def test_the_counters_follow_what_is_submitted(running: Running) -> None:
    deposit = running.town.deposit(0, reference=b"metered").wire
    with LedgerClient(running.url) as client:
        client.submit([deposit, deposit, b"junk", b"\x84\x03\x01"])
    found = scrape(running)
    assert found["wavecomb_records_total", (("result", "ok"), ("type", "deposit"))] == 1
    assert found["wavecomb_records_total", (("result", "already"), ("type", "deposit"))] == 1
    assert found["wavecomb_records_total", (("result", "bad_shape"), ("type", "unknown"))] == 1
    assert found["wavecomb_records_total", (("result", "bad_shape"), ("type", "deposit"))] == 1
    assert found["wavecomb_commit_seconds_count", ()] == 1
    assert found["wavecomb_commit_seconds_bucket", (("le", "+Inf"),)] == 1


# The reference parser splits lines wherever Python does; the format does so at "\n" alone.
ONE_LINE = st.text(st.characters(exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))


@given(ONE_LINE, ONE_LINE, st.integers(-(10**18), 10**18))
def test_any_text_and_any_integer_survive(label: str, text: str, value: int) -> None:
    family = Family("wavecomb_x", "gauge", text, [("", {"label": label}, value)])
    (parsed,) = text_string_to_metric_families(render([family]))
    (sample,) = parsed.samples
    assert sample.labels == {"label": label}
    assert sample.value == value
    assert f" {value}\n" in render([family])


@given(st.lists(st.floats(0, 10)))
def test_a_histogram_counts_every_duration_once(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    samples = {(s, tuple(k.values())): v for s, k, v in histogram.family("x", "").samples}
    assert samples["_count", ()] == len(durations) == samples["_bucket", ("+Inf",)]
    for bound in SECONDS:
        assert samples["_bucket", (repr(bound),)] == sum(d <= bound for d in durations)


def test_checks_of_signatures_are_counted_and_timed(running: Running) -> None:
    deposits = [running.town.deposit(0, reference=b"%d" % n) for n in range(40)]
    kind, version, body, _ = cbor.decode(deposits[0].wire)  # type: ignore[misc]
    forged = cbor.encode((kind, version, body, (b"noise" * 12 + b"four",)))
    with LedgerClient(running.url) as client:
        client.submit([*(signed.wire for signed in deposits), forged])
    found = scrape(running)
    assert found["wavecomb_signatures_checked_total", (("result", "good"),)] == 40
    assert found["wavecomb_signatures_checked_total", (("result", "bad"),)] == 1
    assert found["wavecomb_verification_seconds_total", ()] > 0


def test_the_type_of_a_wire_is_known_from_its_first_bytes() -> None:
    for kind, (cls, _) in LAYOUT.items():
        assert type_name(bytes([0x84, kind])) == cls.NAME
    assert {type_name(raw) for raw in (b"", b"\x84", b"\x84\xff", b"\x00\x01")} == {"unknown"}


def test_the_bench_that_ships_measures_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, ["bench", "--records", "500", "--on", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["committed_per_s"] > 0
    assert 100 < said["bytes_per_record"] < 2_000
    assert list(tmp_path.iterdir()) == []
    assert run_command(main, ["bench", "--records", "1"]) == 2
