from __future__ import annotations

import numpy as np
import pytest
from estimator_helpers import made_links

from coverage_map.estimator.baselines import BASELINES, best_law, fit_law, predict_law
from coverage_map.estimator.field import fit_field, predict_field
from coverage_map.estimator.holdout import block_splits, score
from coverage_map.estimator.kernels import Scales, decades
from coverage_map.estimator.links import Links, blocks_of, make_links
from coverage_map.estimator.model import fit_model, predict_links
from coverage_map.propagation.pathloss import free_space_db, log_distance_db


def lawful(count: int, noise_db: float = 0.0, seed: int = 1) -> Links:
    """Exactly what an own law per hotspot says: nothing for a field to learn."""
    draws = np.random.default_rng(seed)
    places = np.array([[0.0, 0.0], [300.0, 50.0], [-200.0, 200.0]])
    who = draws.integers(0, 3, count)
    rx = draws.uniform(-600.0, 600.0, (count, 2))
    metres = np.maximum(np.hypot(*(rx - places[who]).T), 1.0)
    rssi = 20.0 - log_distance_db(metres, 868e6, 3.2) + 5.0 * who
    rssi = rssi + noise_db * draws.standard_normal(count)
    return make_links(places[who], rx, 868e6, rssi)


def test_a_law_finds_what_made_the_data() -> None:
    links = lawful(600)
    known, unseen = links.take(np.arange(400)), links.take(np.arange(400, 600))
    far = unseen.distance_m() > 10.0
    error = predict_law(fit_law("hotspot_law", known), unseen) - unseen.rssi_dbm
    assert np.abs(error[far]).max() < 0.7


def test_normal_equations_are_least_squares() -> None:
    links = made_links(200)
    law = fit_law("log_distance", links)
    columns = np.column_stack((np.ones(200), decades(links)))
    anchor = -free_space_db(np.full(200, 10.0), links.frequency_hz)
    expected = np.linalg.lstsq(columns, links.rssi_dbm - anchor, rcond=None)[0]
    assert law.common == pytest.approx(expected, rel=1e-6)


def test_an_unseen_hotspot_has_the_common_law() -> None:
    links = lawful(300)
    law = fit_law("hotspot_offset", links.take(links.transmitter < 2))
    strange = links.take(links.transmitter == 2)
    own = fit_law("hotspot_offset", links.take(links.transmitter < 2))
    plain = predict_law(law, strange)
    anchor = -free_space_db(np.full(len(strange), 10.0), strange.frequency_hz)
    assert plain == pytest.approx(anchor + own.common[0] + own.common[1] * decades(strange))


def test_the_best_law_is_chosen_on_ground_that_it_did_not_see() -> None:
    links = lawful(400, 2.0)
    groups = blocks_of(links, 150.0)
    name, said = best_law(links, groups, links, groups)
    assert name in ("hotspot_offset", "hotspot_law")
    assert np.sqrt(np.mean((said - links.rssi_dbm) ** 2)) < 2.4
    assert set(BASELINES) >= {name}


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_is_to_be_learned_the_floor_holds(seed: int) -> None:
    links = lawful(220, 3.0, seed)
    result = score(links, block_splits(links, 150.0, seed), Scales())
    assert result.rmse_db() <= 1.02 * min(result.baselines_db.values())


def test_where_much_is_to_be_learned_the_floor_stays_out_of_the_way() -> None:
    links = made_links(260, masts=2, shadow_db=9.0)
    groups = blocks_of(links, 60.0)
    model = fit_model(links, groups, Scales(), with_trees=False)
    assert model.law_share <= 0.3
    field = fit_field(links, groups, Scales())
    mean, _ = predict_field(field, links)
    if not model.law_share:
        assert np.allclose(predict_links(model, links).mean_dbm, mean)
