"""The made drives that estimators are scored on: repeatable, and thinned without being changed."""

from __future__ import annotations

import numpy as np
import pytest

from bench.estimator import main
from bench.estimator_scenes import SCENES, make_drive, make_scene
from coverage_map.estimator.links import Links

SPOKEN = "scene_sparse_all_readings"


@pytest.fixture(scope="module")
def drive() -> tuple[Links, np.ndarray]:
    return make_drive("plain")


def test_a_scene_is_what_its_drive_keeps(drive: tuple[Links, np.ndarray]) -> None:
    links, kept = drive
    scene = make_scene("plain")
    assert abs(kept.mean() - SCENES["plain"].kept) < 0.05
    assert scene.rssi_dbm.tolist() == links.rssi_dbm[kept].tolist()
    assert scene.rx_m.tolist() == links.rx_m[kept].tolist()


def test_another_ground_of_a_kind_is_another_drive(drive: tuple[Links, np.ndarray]) -> None:
    other, _ = make_drive("plain", 116)
    assert len(set(other.rssi_dbm) & set(drive[0].rssi_dbm)) == 0


def test_a_data_set_that_is_not_there_is_named_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--scenes", "--only", "scene_desert"]) == 2
    said = capsys.readouterr().err
    assert "scene_desert" in said
    assert SPOKEN in said
