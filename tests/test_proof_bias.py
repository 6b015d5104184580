"""What choosing the randomness buys: the exact figures against enumeration and real draws."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

np = pytest.importorskip("numpy")
from bench import randomness  # noqa: E402


@pytest.mark.parametrize("draws_log2", [0, 1, 2])
def test_the_best_of_some_draws_is_enumerated(draws_log2: int) -> None:
    """Against every outcome of every draw of a small distribution."""
    pmf = np.array([0.5, 0.3, 0.2])
    expected = sum(
        np.prod(pmf[list(drawn)]) * max(drawn) / 2
        for drawn in product(range(3), repeat=2**draws_log2)
    )
    assert randomness.compute_best_share(pmf, draws_log2) == pytest.approx(expected)


@pytest.mark.parametrize("beacons", [1, 7, 40])
def test_more_draws_never_buy_less_and_one_is_fair(beacons: int) -> None:
    """One draw gives the share of candidates; each doubling gives more, up to everything."""
    shares = [randomness.compute_expected(0.3, beacons, log2) for log2 in (0, 1, 2, 8, 40)]
    assert shares[0] == pytest.approx(0.3, abs=0.02)
    assert all(a < b <= 1 for a, b in pairwise(shares))


def test_real_draws_agree() -> None:
    """Two of seven cosigners choose from four draws made with chain/draws.py."""
    simulated = randomness.simulate(0.3, 7, 1, 600)
    assert simulated == pytest.approx(randomness.compute_expected(0.3, 1, 2), abs=0.04)


def test_outputs_leave_hotspots_no_choice() -> None:
    """With them, only cosigners and the sequencer choose, and from few."""
    tries = randomness.compute_draws(0.1, 300, 7, 1e12)
    assert tries["hotspots_vrf"] == 0 < tries["hotspots_mix"] == 30
    assert tries["sequencer_vrf"] == pytest.approx(np.log2(1 + 64))
    assert tries["sequencer_mix"] == pytest.approx(np.log2(1e12))
