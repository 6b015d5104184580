"""Failures foreseen: signs, alarms and how they are judged, the model that ships, the command."""

import json
import re
from collections import Counter
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from chain.errors import UserError
from radio_sim.trouble import CAUSES, make_record
from routing.forecast.table import Tree, TreeTable
from routing.insights import waste
from routing.insights.failures import (
    AHEAD,
    Alarm,
    FailureModel,
    Rule,
    Told,
    alarms_of,
    failure_model,
    judge,
    labels_of,
    predict_rows,
    told_of,
    train_failures,
)
from routing.insights.grid import DAY, GRID_MS, HOUR, Grid
from routing.insights.outlook import cut_off, outlook_of, reasons_of
from routing.insights.signs import SIGNS, signs_of, windowed
from routing.io_cli import main
from routing.io_insights import load_failure_model
from routing.telemetry.second import FIELDS

SIGN = {name: at for at, name in enumerate(SIGNS)}


@cache
def record(seed, days=5, has_snr=False):
    return make_record(seed, hotspots=24, days=days, has_snr=has_snr)


@cache
def told(seed):
    made = record(seed)
    return told_of(made.grid, {f.hotspot: f.step for f in made.failures})


# Records that are made.


def test_the_same_seed_fails_the_same_way_and_another_differently():
    again = make_record(3, hotspots=24, days=5, has_snr=False)
    assert again.failures == record(3).failures
    assert again.grid.heard.tobytes() == record(3).grid.heard.tobytes()
    assert record(4).failures != record(3).failures


def test_who_failed_is_silent_for_good_and_the_others_are_not():
    made = record(3)
    failed = {f.hotspot: f.step for f in made.failures}
    assert failed
    for hotspot in made.grid.hotspots:
        heard = made.grid.heard[:, made.grid.columns_of(hotspot)]
        if hotspot in failed:
            assert not heard[failed[hotspot] :].any()
            assert heard[failed[hotspot] - 1].any()
        else:
            assert heard[-1].any() or all(
                set(made.grid.links[at]) & set(failed) for at in made.grid.columns_of(hotspot)
            )


def test_causes_come_in_their_shares():
    seen = Counter(f.cause for seed in range(40) for f in _failures(seed))
    total = sum(seen.values())
    assert set(seen) == set(CAUSES)
    assert seen["water"] / total == pytest.approx(0.30, abs=0.08)
    assert seen["sudden"] / total == pytest.approx(0.15, abs=0.07)


def _failures(seed):
    from radio_sim.draws import draw_uniform
    from radio_sim.trouble import FAILING_SHARE, _Ailing

    ailing = _Ailing(seed, 40, [(0, 1), (1, 0)], 7 * DAY)
    failing = [h for h in range(40) if draw_uniform(ailing.seed, "fails", h) < FAILING_SHARE]
    return [ailing.fail(hotspot) for hotspot in failing]


# Signs.


def line(steps=6 * DAY, nodes=4, **fields):
    links = tuple(pair for a in range(nodes - 1) for pair in ((a, a + 1), (a + 1, a)))
    quiet = {"rate_kbps": 20_000.0, "load_kbps": 500.0, "rtt_us": 3_000.0, "snr_cdb": 2_500.0}
    values = {name: np.zeros((steps, len(links))) for name in FIELDS}
    for name, value in (quiet | fields).items():
        values[name][:] = value
    return Grid(0, links, np.ones((steps, len(links))), values)


@pytest.mark.parametrize(("steps", "skip"), [(6, 0), (36, 6), (1, 0)])
def test_windows_are_means_of_what_is_known(steps, skip):
    draws = np.random.default_rng(1)
    values = draws.random((50, 3))
    values[draws.random((50, 3)) < 0.4] = np.nan
    found = windowed(values, steps, skip)
    for t in range(50):
        part = values[max(0, t + 1 - steps) : max(0, t + 1 - skip)]
        for c in range(3):
            known = part[np.isfinite(part[:, c]), c]
            if len(known):
                assert found[t, c] == pytest.approx(known.mean())
            else:
                assert np.isnan(found[t, c])


def test_a_steady_mesh_shows_no_sign():
    hotspots, signs = signs_of(line())
    assert hotspots == [0, 1, 2, 3]
    last = dict(zip(SIGNS, signs[-1, 1], strict=True))
    assert last.pop("quiet_h") == 72.0
    assert last.pop("links") == 4.0
    assert all(abs(value) < 1e-9 for value in last.values()), last


def test_signs_know_nothing_of_the_future():
    grid = record(3).grid
    cut = Grid(0, grid.links, grid.heard[:500], {n: v[:500] for n, v in grid.values.items()})
    whole, part = signs_of(grid)[1][:500], signs_of(cut)[1]
    assert np.allclose(whole, part, equal_nan=True, atol=1e-9)


def test_what_comes_to_all_is_no_sign_of_one():
    grid = line()
    grid.values["snr_cdb"][-HOUR:] = 1_500.0
    last = signs_of(grid)[1][-1]
    assert last[1, SIGN["snr_fall_1h"]] == pytest.approx(10.0)
    assert last[1, SIGN["snr_apart"]] == pytest.approx(0.0)


def test_one_bad_path_is_told_from_a_bad_hotspot():
    path, spot = line(), line()
    path.values["snr_cdb"][-DAY // 4 :, [2, 3]] = 1_000.0  # both ways between 1 and 2
    spot.values["snr_cdb"][-DAY // 4 :, [0, 1, 2, 3]] = 1_000.0  # all of hotspot 1
    best = [signs_of(g)[1][-1, 1, SIGN["snr_fall_best_6h"]] for g in (path, spot)]
    assert best == pytest.approx([0.0, 15.0])


def test_outages_count_where_no_link_was_heard_whole():
    grid = line()
    grid.heard[-1 - HOUR, [0, 1, 2, 3]] = 0.8  # all of hotspot 1
    last = signs_of(grid)[1][-1]
    assert last[:, SIGN["outages_24h"]].tolist() == [1.0, 1.0, 0.0, 0.0]  # 0 has no other link
    assert last[1, SIGN["quiet_h"]] == 1.0


# Alarms and their judgement.


def scored(*marks, steps=600):
    scores = np.zeros((steps, 2))
    for begin, end, value in marks:
        scores[begin:end, 0] = value
    return scores


def test_an_alarm_needs_two_steps_and_ends_after_six_calm_hours():
    alive = np.ones((600, 2), bool)
    assert alarms_of(scored((100, 101, 0.9)), alive, 0.5) == []
    (one,) = alarms_of(scored((100, 110, 0.9), (130, 140, 0.9)), alive, 0.5)
    assert one == Alarm(0, 101, 139 + 36)
    two = alarms_of(scored((100, 110, 0.9), (200, 210, 0.9)), alive, 0.5)
    assert [alarm.begin for alarm in two] == [101, 201]
    (held,) = alarms_of(scored((100, 110, 0.9), (110, 300, 0.3)), alive, 0.5)
    assert held.end == 299 + 36


@pytest.mark.parametrize(
    ("begin", "right", "foreseen", "lead"),
    [
        (300, 1, 1, 990.0),  # 99 steps of ten minutes before
        (398, 1, 0, 0.0),  # right, and too late to do anything
        (100, 0, 0, 0.0),  # a day and more too early, and over by then
    ],
)
def test_alarms_are_judged_by_what_came(begin, right, foreseen, lead):
    alive = np.ones((600, 2), bool)
    alive[400:, 0] = False
    mesh = Told(np.zeros((600, 2, len(SIGNS))), alive, {0: 400})
    quality = judge([mesh], [scored((begin, begin + 20, 0.9))], 0.5)
    assert (quality.alarms, quality.right, quality.failures) == (1, right, 1)
    assert (quality.foreseen, quality.lead_minutes) == (foreseen, lead)


def test_alarms_whose_day_is_not_over_are_not_judged():
    alive = np.ones((600, 2), bool)
    mesh = Told(np.zeros((600, 2, len(SIGNS))), alive, {})
    assert judge([mesh], [scored((550, 600, 0.9))], 0.5).alarms == 0
    assert judge([mesh], [scored((300, 320, 0.9))], 0.5).precision == 0.0


def test_labels_are_the_day_before():
    mesh = Told(np.zeros((600, 2, len(SIGNS))), np.ones((600, 2), bool), {1: 400})
    labels = labels_of(mesh)
    assert labels.sum() == AHEAD
    assert labels[400 - AHEAD, 1]
    assert labels[399, 1]


# The model.


def test_training_is_the_same_twice_and_the_file_comes_back():
    meshes = [told(3), told(4)]
    one, two = (train_failures(meshes, rounds=8) for _ in range(2))
    assert one.to_bytes() == two.to_bytes()
    model = FailureModel(one, 0.4, {"precision": 1.0})
    back = failure_model(model.to_json())
    signs = told(5).signs[-40:]
    assert back.to_json() == model.to_json()
    assert back.probabilities(signs).tobytes() == model.probabilities(signs).tobytes()
    flat = signs.reshape(-1, len(SIGNS))
    raw = [one.predict(row) for row in flat.tolist()]
    assert predict_rows(one, flat).tolist() == raw
    assert predict_rows(TreeTable([Tree((), (0.5,))], 26), flat[:3]).tolist() == [0.5] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"signs": ["loss_1h"]},
        {"threshold": 1.5},
        {"threshold": "x"},
        {"table": "AAAA"},
        {"table": 7},
    ],
)
def test_a_file_that_is_no_model_is_refused(change):
    content = json.loads(load_failure_model().to_json()) | change
    with pytest.raises(UserError):
        failure_model(json.dumps(content))
    with pytest.raises(UserError, match="not one"):
        failure_model("{")


def test_without_a_failure_there_is_nothing_to_learn():
    mesh = Told(told(3).signs, told(3).alive, {})
    with pytest.raises(UserError, match="no failure"):
        train_failures([mesh], rounds=2)


def test_the_model_that_ships_foresees_more_than_the_rule_on_meshes_it_never_saw():
    model = load_failure_model()
    meshes = [told(seed) for seed in range(9_001, 9_007)]
    scores = [model.probabilities(mesh.signs) for mesh in meshes]
    own = judge(meshes, scores, model.threshold)
    rule = Rule(5, 1.5, 0.3)
    plain = judge(meshes, [rule.scores(mesh.signs) for mesh in meshes], 0.5)
    assert own.f1 > plain.f1
    assert own.precision > 0.5
    assert own.lead_minutes > 120


def test_a_failing_hotspot_is_named_with_its_cause_and_remedy():
    model = load_failure_model()
    words = {"power": "power supply", "water": "antenna"}
    right, told_cause = 0, 0
    for seed in range(9_001, 9_005):
        made = record(seed)
        for failure in made.failures:
            if failure.cause in words and failure.step > 2 * DAY:
                cut = _until(made.grid, failure.step - 1)
                found = {one.hotspot: one for one in outlook_of(cut, model)}
                right += failure.hotspot in found
                if failure.hotspot in found:
                    told_cause += words[failure.cause] in found[failure.hotspot].remedy
    assert right >= 4
    assert told_cause >= 0.75 * right


def _until(grid, step):
    values = {name: column[:step] for name, column in grid.values.items()}
    return Grid(0, grid.links, grid.heard[:step], values)


def test_a_steady_mesh_and_a_dead_hotspot_raise_no_alarm():
    model = load_failure_model()
    assert outlook_of(line(), model) == []
    assert outlook_of(line(steps=DAY), model) == []
    dead = line()
    dead.heard[-DAY:, [0, 1]] = 0.0
    for column in dead.values.values():
        column[-DAY:, [0, 1]] = np.nan
    assert 0 not in [one.hotspot for one in outlook_of(dead, model)]


def test_reasons_are_signs_that_lower_the_odds_when_they_go():
    model = load_failure_model()
    typical = signs_of(line())[1][-1, 1]
    ill = typical.copy()
    names = ("outages_6h", "outages_24h", "outages_72h", "outages_grow", "outages_apart")
    for name, value in zip(names, (6, 14, 16, 12, 14), strict=True):
        ill[SIGN[name]] = value
    ill[SIGN["quiet_h"]] = 0.0
    assert reasons_of(ill, typical, model)[0] == "outages"
    assert reasons_of(typical, typical, model) == []


def test_who_hangs_on_a_hotspot():
    assert cut_off(line(), 1) in ({0}, {2, 3})
    assert cut_off(line(), 2) == {3}
    assert cut_off(line(), 0) == set()


# The command.


def rows_of(grid, hours=30):
    """CSV of the newest hours: ten-minute rows of what was heard."""
    names = ["source", "target", "time_ms", *FIELDS[:6]]
    order = ["rate_kbps", "load_kbps", "busy_permille", "queue_bytes", "loss_permille", "rtt_us"]
    lines = [",".join([*names[:3], *order])]
    for t in range(max(0, grid.steps - 6 * hours), grid.steps):
        for at, (a, b) in enumerate(grid.links):
            if grid.heard[t, at] > 0:
                numbers = (int(grid.values[name][t, at]) for name in order)
                lines.append(",".join(map(str, (a, b, t * GRID_MS, *numbers))))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("insights") / "telemetry.csv"
    path.write_text(rows_of(_until(record(3).grid, 2 * DAY)))
    return path


def test_the_command_tells_what_to_do(csv, capsys):
    assert main(["insights", "--data", str(csv)]) == 0
    text = capsys.readouterr().out
    assert "   do      " in text
    assert "   gain    " in text
    assert main(["insights", "--data", str(csv), "--json", "--top", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["insights"]) == 2
    assert answer["found"] >= 2
    one = answer["insights"][0]
    assert {"kind", "urgency", "hotspot", "what", "remedy", "gain", "numbers"} <= set(one)
    assert main(["insights", "--data", str(csv), "--json", "--hotspot", str(one["hotspot"])]) == 0
    mine = json.loads(capsys.readouterr().out)["insights"]
    assert one in mine
    assert all(one["hotspot"] in (row["hotspot"], *(row["link"] or ())) for row in mine)


def test_a_gateway_is_asked_over_http(csv, capsys):
    main(["insights", "--data", str(csv), "--json"])
    body = capsys.readouterr().out.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/insights" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            assert main(["insights", "--gateway", url, "--json"]) == 0
            assert json.loads(capsys.readouterr().out) == json.loads(body)
            body = b"{}"
            with pytest.raises(UserError, match="no insights"):
                main(["insights", "--gateway", url])
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(UserError, match="gateway running"):
        main(["insights", "--gateway", url])


def test_wrong_sources_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        main(["insights", "--data", str(tmp_path / "none.csv")])
    with pytest.raises(UserError, match="no such folder"):
        main(["insights", "--folder", str(tmp_path / "none")])
    with pytest.raises(UserError, match="no address"):
        main(["insights", "--gateway", "ftp://x"])


# The page.


def page():
    return (Path(__file__).parents[1] / "docs" / "insights.md").read_text()


def test_the_page_names_every_sign_and_every_kind():
    rows = [line.split("|")[1] for line in page().splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([\w-]+)`", row)]
    kinds = re.findall(r"^    ([a-z]+-[a-z]+)  ", waste.__doc__, re.M)
    assert named == [*kinds, "far-provider", *SIGNS]
    assert f"{len(SIGNS)} signs" in page()


def test_the_page_tells_the_figures_of_the_model_that_ships():
    told = load_failure_model().metrics
    row = next(line for line in page().splitlines() if "what gossip carries |" in line)
    for name in ("precision", "recall", "f1"):
        assert f"{told[name]:.2f}".lstrip("0") in row
    hours, minutes = divmod(int(told["lead_minutes"]), 60)
    assert f"{hours} h {minutes:02d} min" in row
