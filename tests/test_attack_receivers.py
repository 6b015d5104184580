"""What poor receivers cost: the bench that says it, at a small size."""

from __future__ import annotations

import argparse

import pytest

from bench import loudness


def options_of(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**{"hotspots": 40, "epochs": 26, "seed": 3, "seeds": 1, **values})


def test_shares_of_a_driver_that_drops_frames_are_of_the_same_hotspots() -> None:
    calls = [0]

    def note() -> None:
        calls[0] += 1

    found = loudness.measure_dropping(options_of(), note)
    assert calls == [2 * 26]
    assert 0.0 < found["share_dropping"] < 1.0
    assert 0.0 < found["share_good"] < 1.0
    lost = 1.0 - found["share_dropping"] / found["share_good"]
    assert found["dropping_loss"] == pytest.approx(lost)
    assert found["share_dropping"] != found["share_good"]  # drivers make a difference at all
