"""AI demand, 5G rows and the sender's counters as data: read exactly, refused by line."""

import io

import numpy as np
import pytest
from conftest import ROOT

from chain.errors import UserError
from routing.forecast.datasets import (
    COLUMNS,
    SERVEGEN_CLIENTS,
    parse_samples,
    series_of_all,
    servegen_rates,
    servegen_series,
    ucc_rows,
)
from routing.forecast.features import FEATURES, WINDOW, build_rows, future_mean
from routing.forecast.io_datasets import load_series
from routing.forecast.training import TrainOptions, train
from routing.telemetry.second import EXTRA_FIELDS, Telemetry

WINDOWS = ["0,1.5,1,Gamma,1,1", "600,2.5,1,Gamma,1,1", "1200,0,,,,"]


def test_servegen_windows_become_rates():
    assert servegen_rates(WINDOWS, "chunk").tolist() == [1.5, 2.5, 0.0]


@pytest.mark.parametrize(
    "line", ["600,2", "1800,1", "1200", "1200,x", "1200,-1", "1200,inf", "1200,nan", ""]
)
def test_a_bad_servegen_window_names_its_line(line):
    with pytest.raises(UserError, match=r"chunk: line 3: .*; give a ServeGen trace"):
        servegen_rates([*WINDOWS[:2], line], "chunk")


def test_the_largest_clients_are_taken_in_order():
    clients = [np.full(5, float(rate)) for rate in range(30)]
    series = servegen_series(clients)
    assert len(series) == SERVEGEN_CLIENTS
    assert [one.load[0] for one in series[:3]] == [29_000.0, 28_000.0, 27_000.0]
    assert series[0].step_ms == 600_000


def test_ucc_rows_are_steps_whatever_their_seconds_say():
    stamps = ["10.43.34", "10.43.34", "10.43.39"]
    lines = ["Timestamp,DL_bitrate\n", *(f"2020.01.16_{at},{n}\n" for n, at in enumerate(stamps))]
    assert ucc_rows(lines, 3, "log").load.tolist() == [0.0, 1.0, 2.0]


def rhythm(pings, stamps):
    lines = ["Timestamp,DL_bitrate,PINGAVG\n"]
    lines += [f"{at},900,{90 + at if at in pings else '-'}\n" for at in stamps]
    return build_rows(ucc_rows(lines, 0, "log")).matrix


def test_a_row_knows_how_long_ago_the_round_trip_was_probed():
    at = [FEATURES.index(name) for name in ("probe_age", "probe_steps")]
    stamps = [*range(1_000, 1_040), *range(1_041, 1_061)]
    matrix = rhythm({1_020, 1_037}, stamps)
    assert matrix[0, at].tolist() == [15.0, 15.0]  # second 1035, since 1020
    assert matrix[5, at].tolist() == [4.0, 3.0]  # second 1041, since 1037, a second left out
    assert np.isnan(rhythm({1_000}, stamps)[-1, at]).all()


def test_real_time_between_rows_is_a_feature_and_even_steps_are_constant():
    at = [FEATURES.index(name) for name in ("gap_0", "gap_1", "span_12", "span_35")]
    matrix = rhythm(set(), [*range(1_000, 1_036), 1_040, 1_041])
    assert matrix[0, at].tolist() == [1.0, 1.0, 12.0, 35.0]
    assert matrix[2, at].tolist() == [1.0, 5.0, 16.0, 39.0]
    samples = [Telemetry(1, 2, 1_000 * t, 9, 9, 0, 0, 0, 7) for t in range(50)]
    even = build_rows(series_of_all(samples)[0]).matrix[:, at]
    assert np.ptp(even, axis=0).tolist() == [0.0] * 4


def traces(ground_truth):
    folder = ground_truth / "routing"
    if not (folder / "llm").is_dir():
        pytest.skip("routing traces are not present: ../shared/ground-truth")
    return folder


def test_last_value_on_ucc_rows_errs_by_the_published_606_permille(ground_truth):
    errors, total = 0.0, 0.0
    for one in load_series("ucc5g-rows", traces(ground_truth)):
        steps = np.arange(one.length - 5)
        ahead = future_mean(one.load, steps, 5)
        errors += float(np.abs(ahead - one.load[steps]).sum())
        total += float(ahead.sum())
    assert errors / total == pytest.approx(0.606, abs=0.001)


def test_servegen_has_two_weeks_of_ten_minutes(ground_truth):
    series = load_series("servegen", traces(ground_truth))
    assert {(one.length, one.step_ms) for one in series} == {(2_016, 600_000)}
    assert series[0].load.mean() > series[-1].load.mean() > 0


def csv_of(samples, columns):
    rows = (",".join(str(getattr(sample, name)) for name in columns) for sample in samples)
    return io.StringIO("\n".join([",".join(columns), *rows, ""]))


def test_the_senders_counters_are_read_where_a_file_has_them():
    full = [Telemetry(1, 2, t * 1_000, 8_000, 800, 0, 0, 0, 0, *range(1, 10)) for t in range(3)]
    assert parse_samples(csv_of(full, (*COLUMNS, *EXTRA_FIELDS))) == full
    some = parse_samples(csv_of(full, (*COLUMNS, "flows")))
    assert [(one.flows, one.packets) for one in some] == [(6, 0)] * 3
    bad = csv_of(full, (*COLUMNS, "flows")).getvalue().replace(",6\n", ",-6\n", 1)
    with pytest.raises(UserError, match="line 2, flows"):
        parse_samples(io.StringIO(bad))


def counted(packets=100, step_ms=1_000):
    samples = [
        Telemetry(
            1, 2, t * step_ms, 8_000, 800, 0, 0, 0, 0, packets=packets, drops=packets // 10,
            nominal_kbps=16_000, snr_cdb=2_000 + 10 * t, neighbour_busy_permille=250, flows=7,
            job_bytes=4_000_000, ai_running=3, ai_waiting=2,
        )
        for t in range(WINDOW)
    ]
    (series,) = series_of_all(samples, step_ms)
    return dict(zip(FEATURES, build_rows(series).matrix[0].tolist(), strict=True))


def test_counters_become_features_in_the_units_of_the_table():
    row = counted()
    assert row["packet_bytes"] == pytest.approx(1_000.0)  # 800 kbit/s are 100 packets of 1,000 B
    assert row["drops_6"] == pytest.approx(0.1)
    assert row["rate_of_nominal"] == 0.5
    assert row["snr_db"] == pytest.approx(23.5)
    assert row["snr_change"] == pytest.approx(0.55)
    assert row["neighbour_busy"] == row["neighbour_busy_mean_6"] == 0.25
    assert (row["flows"], row["flows_ratio"], row["job_s"]) == (3.0, 1.0, 4.0)
    assert (row["ai_running"], row["ai_waiting"], row["ai_waiting_mean_6"]) == (3.0, 2.0, 2.0)


def test_the_table_of_features_in_the_docs_is_the_table_of_the_code():
    text = (ROOT / "docs" / "forecast.md").read_text()
    missing = [name for name in FEATURES if f"`{name}`" not in text]
    assert missing == []


def test_ai_demand_an_hour_ahead_is_forecast_far_better_than_by_its_mean(ground_truth):
    series = load_series("servegen", traces(ground_truth))[:6]
    options = TrainOptions(horizons=(6,), span=1, leaves=7, rounds=60, feature_share=0.4)
    metrics = train(series, "servegen", options).metrics["6"]
    for name in ("persistence", "ewma", "seasonal"):
        assert metrics["model"]["pinball90"] < 0.85 * metrics[name]["pinball90"]
