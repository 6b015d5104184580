"""From transmit power to signal-to-noise ratio."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

THERMAL_NOISE_DBM_HZ = -174.0  # kT at 290 K
WIFI_BANDWIDTH_HZ = 20e6
WIFI_NOISE_FIGURE_DB = 7.0


def noise_floor_dbm(
    bandwidth_hz: ArrayLike = WIFI_BANDWIDTH_HZ,
    noise_figure_db: ArrayLike = WIFI_NOISE_FIGURE_DB,
) -> NDArray[np.float64]:
    """Thermal noise in a receiver, dBm: -174 + 10 lg B + NF (20 MHz, 7 dB: -94.0)."""
    bandwidth = 10.0 * np.log10(np.asarray(bandwidth_hz, np.float64))
    figure = np.asarray(noise_figure_db, np.float64)
    return np.asarray(THERMAL_NOISE_DBM_HZ + bandwidth + figure, np.float64)


def received_dbm(
    eirp_dbm: ArrayLike, path_loss_db: ArrayLike, gain_dbi: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Power at the receiver's input, dBm: EIRP less path loss plus receive antenna gain."""
    eirp = np.asarray(eirp_dbm, np.float64) + np.asarray(gain_dbi, np.float64)
    return np.asarray(eirp - np.asarray(path_loss_db, np.float64), np.float64)


def snr_db(
    eirp_dbm: ArrayLike,
    path_loss_db: ArrayLike,
    gain_dbi: ArrayLike = 0.0,
    bandwidth_hz: ArrayLike = WIFI_BANDWIDTH_HZ,
    noise_figure_db: ArrayLike = WIFI_NOISE_FIGURE_DB,
) -> NDArray[np.float64]:
    """Signal-to-noise ratio of a link in dB, without interference."""
    signal = received_dbm(eirp_dbm, path_loss_db, gain_dbi)
    return np.asarray(signal - noise_floor_dbm(bandwidth_hz, noise_figure_db), np.float64)
