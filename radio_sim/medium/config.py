"""What a medium's receivers and channel access are like, and the kinds of frames they send."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from radio_sim import phy
from radio_sim.phy.airtime import frame_ns
from radio_sim.phy.packet_errors import rate_success_table
from radio_sim.phy.rates import Rate

Floats = NDArray[np.float64]

US = 1000
LEAST_SNR_DSSS_DB = -8.0  # the Barker code's 10.4 dB let a preamble be found below the noise
LEAST_SNR_OFDM_DB = -2.0  # below it no rate has a success worth the draw
BARKER_CHIPS = 11  # what another station's Barker code isn't spread by
DSSS_KBPS_MAX = 2000


@dataclass(frozen=True, slots=True)
class MediumConfig:
    """Receivers and channel access; the defaults are those of an ordinary 2.4 GHz radio.

    The channel is busy for a radio while it receives, while a frame of its channel arrives with
    `sense_dbm` that it isn't locked on, and while all that arrives comes to `energy_detect_dbm`
    (IEEE 802.11-2020, 17.3.10.6: -82 and -62; real receivers find preambles somewhat lower).
    A receiver is captured by a frame `preamble_capture_db` stronger in the first
    `capture_window_us`, `late_capture_db` stronger afterwards (inf: never). A frame trains its
    receiver in that window if it is `training_db` above each other that begins then. `fading_db`
    is the deviation of what arrives from packet to packet, `rssi_noise_db` that of the figure
    alone (cabled radios: 1.0 to 2.1), `device_offset_db` that of the figure between devices.
    Times are those of long slots: a 1 Mb/s network has DSSS stations. With `eifs` a radio that
    couldn't read a frame leaves time for its acknowledgement (10.3.2.3.7).
    """

    noise_dbm: float = -94.0  # of 20 MHz; wider frames have more
    bandwidth_mhz: int = 20  # of the channel that receivers listen on
    sense_dbm: float = -85.0
    energy_detect_dbm: float = -62.0
    rssi_noise_db: float = 1.5
    device_offset_db: float = 2.0
    fading_db: float = 0.0
    default_rate_kbps: int = 1000
    real_fields: bool = False  # give TSFT, signal and noise as seldom as real drivers do
    preamble_capture_db: float = 5.0
    late_capture_db: float = 10.0
    training_db: float = 4.0
    capture_window_us: int = 16
    slot_us: int = 20
    sifs_us: int = 10
    cca_us: int = 15  # a transmission younger than this can't be sensed yet
    window: int = 31
    window_max: int = 1023
    retries: int = 7  # of a unicast frame; below 0: without end
    eifs: bool = True
    ack_us: int = 304  # 14 bytes at the lowest basic rate


@dataclass(frozen=True, slots=True, eq=False)
class FrameKind:
    """Frames of one rate and length. `success` is their success rate on phy's grid of SNR.

    `interference_weight` says how much worse than noise other stations' frames are; `family` is
    that of `phy.rates`, for the spectrum.
    """

    airtime_ns: int
    success: Floats = field(repr=False)
    least_snr_db: float = LEAST_SNR_OFDM_DB
    bandwidth_mhz: int = 20
    interference_weight: int = 1
    family: str = "ofdm"


@lru_cache(maxsize=1024)
def legacy_kind(mpdu_bytes: int, rate_kbps: int) -> FrameKind:
    """DSSS or 2.4 GHz OFDM in 20 MHz; `mpdu_bytes` with FCS."""
    is_dsss = rate_kbps <= DSSS_KBPS_MAX
    return FrameKind(
        airtime_ns=phy.airtime_us(mpdu_bytes, rate_kbps) * US,
        success=phy.success_table(mpdu_bytes, rate_kbps),
        least_snr_db=LEAST_SNR_DSSS_DB if is_dsss else LEAST_SNR_OFDM_DB,
        interference_weight=BARKER_CHIPS if is_dsss else 1,
        family="dsss" if is_dsss else "ofdm",
    )


@lru_cache(maxsize=1024)
def kind_of(rate: Rate, psdu_bytes: int, *, is_2ghz: bool = False) -> FrameKind:
    """Frames of any 802.11 rate, with the soft decisions of modern receivers."""
    is_dsss = rate.family in ("dsss", "cck")
    return FrameKind(
        airtime_ns=frame_ns(rate, psdu_bytes, is_2ghz=is_2ghz),
        success=rate_success_table(rate, psdu_bytes),
        least_snr_db=LEAST_SNR_DSSS_DB if is_dsss else LEAST_SNR_OFDM_DB,
        bandwidth_mhz=20 if is_dsss else rate.bandwidth_mhz,
        interference_weight=BARKER_CHIPS if is_dsss else 1,
        family=rate.family,
    )
