"""From transmit power to signal-to-noise ratio, and to what a device reports of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.antennas import Isotropic, Mounted

Floats = NDArray[np.float64]

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


@dataclass(frozen=True, slots=True)
class Transmitter:
    """What a sender radiates: power at its port, losses up to the antenna, pattern on a mast."""

    power_dbm: float
    antenna: Mounted = field(default_factory=lambda: Mounted(Isotropic()))
    cable_loss_db: float = 0.0

    def eirp_dbm(self, bearing_deg: ArrayLike = 0.0, elevation_deg: ArrayLike = 0.0) -> Floats:
        """Equivalent isotropically radiated power towards a direction of the world."""
        gain = self.antenna.gain_dbi(bearing_deg, elevation_deg)
        return np.asarray(self.power_dbm - self.cable_loss_db + gain)


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a receiver makes of it: noise, losses, pattern."""

    bandwidth_hz: float = WIFI_BANDWIDTH_HZ
    noise_figure_db: float = WIFI_NOISE_FIGURE_DB
    antenna: Mounted = field(default_factory=lambda: Mounted(Isotropic()))
    cable_loss_db: float = 0.0

    @property
    def noise_dbm(self) -> float:
        """Noise floor within the bandwidth."""
        return float(noise_floor_dbm(self.bandwidth_hz, self.noise_figure_db))

    def gain_dbi(self, bearing_deg: ArrayLike = 0.0, elevation_deg: ArrayLike = 0.0) -> Floats:
        """Antenna gain less cable loss towards a direction of the world."""
        return np.asarray(self.antenna.gain_dbi(bearing_deg, elevation_deg) - self.cable_loss_db)


@dataclass(frozen=True, slots=True)
class Budget:
    """A link's powers in dBm and its SNR in dB."""

    eirp_dbm: Floats
    received_dbm: Floats
    noise_dbm: float
    snr_db: Floats


def budget(
    transmitter: Transmitter,
    receiver: Receiver,
    path_loss_db: ArrayLike,
    bearing_deg: ArrayLike = 0.0,
    elevation_deg: ArrayLike = 0.0,
) -> Budget:
    """Powers of links whose receivers lie at a bearing and elevation from the transmitter."""
    eirp = transmitter.eirp_dbm(bearing_deg, elevation_deg)
    back = np.asarray(bearing_deg, np.float64) + 180.0
    gain = receiver.gain_dbi(back, -np.asarray(elevation_deg, np.float64))
    received = received_dbm(eirp, path_loss_db, gain)
    noise = receiver.noise_dbm
    return Budget(eirp, received, noise, np.asarray(received - noise))


@dataclass(frozen=True, slots=True)
class RssiDevice:
    """How a device reports signal strength: a constant error, noise per packet, whole steps.

    Cabled gateways show offsets near -8 dB and deviations of 1.0 to 2.1 dB per packet with steps
    of 1 dB (mclab-hbrs/lora-bonn, gateway verification: 600 packets over 59 dB).
    """

    offset_db: float = 0.0
    sigma_db: float = 1.5
    step_db: float = 1.0
    floor_dbm: float = -140.0
    ceiling_dbm: float = 0.0

    def reported_dbm(self, true_dbm: ArrayLike, deviates: ArrayLike) -> Floats:
        """Reported strength of packets, given a standard normal number for each."""
        noise = self.sigma_db * np.asarray(deviates, np.float64)
        exact = np.asarray(true_dbm, np.float64) + self.offset_db + noise
        steps = np.rint(exact / self.step_db) * self.step_db if self.step_db > 0.0 else exact
        return np.asarray(np.clip(steps, self.floor_dbm, self.ceiling_dbm))
