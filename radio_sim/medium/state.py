"""Building and changing the arrays of a medium: radios, links, kinds of frames, channels."""

from __future__ import annotations

import numpy as np

from radio_sim.draws import draw_u64, draws_u64, normal_table, normals
from radio_sim.links import Links
from radio_sim.medium import kernels
from radio_sim.medium.channels import Channel, tables
from radio_sim.medium.config import US, FrameKind, MediumConfig
from radio_sim.medium.layout import Air, Floats, Ints

_COST_MAX = 5e7  # a success rate of exp(-50) is none
_FADE_CELLS = 4096


def zeptowatt(dbm: Floats | float) -> Floats:
    """Power in units of 1e-18 mW, at most what fits; 0 for nothing."""
    power = 10.0 ** ((np.asarray(dbm, np.float64) + kernels.ZEPTOWATT_DB) / 10.0)
    return np.minimum(power, kernels.STRONGEST)


def to_ratio(decibel: float) -> float:
    """A linear ratio."""
    return float(10.0 ** (decibel / 10.0))


def make_air(links: Links, seed: int, config: MediumConfig) -> Air:
    """Build the arrays of a medium in which nothing is on the air. `seed` is the medium's own."""
    radios = len(links.starts) - 1
    node = np.zeros((radios, kernels.NODE_COLUMNS), np.int64)
    node[:, kernels.LOCK] = -1
    node[:, kernels.SLOTS] = -1
    node[:, kernels.UP] = 1
    node[:, kernels.IDLE_SINCE] = -kernels.NEVER // 2
    devices = draws_u64(draw_u64(seed, "device"), np.arange(radios, dtype=np.uint64))
    quantiles, steps = normal_table()
    air = Air(
        node=node,
        factor=np.ones(radios),
        starts=np.empty(0, np.int64),
        neighbours=np.empty(0, np.int64),
        gain=np.empty(0),
        arriving=np.empty(0, np.int64),
        fate=np.empty(0, np.int8),
        sinr=np.empty(0),
        offset=config.device_offset_db * normals(devices),
        rows=np.empty((0, kernels.ROW_COLUMNS), np.int64),
        least=np.empty(0),
        wider=np.empty(0),
        cost=np.empty((0, 1), np.int64),
        reject=np.empty((0, 0)),
        decodes=np.empty((0, 0), np.bool_),
        fade=_fades(config.fading_db),
        quantiles=quantiles,
        steps=steps,
        parameters=_parameters(config),
        ratios=np.array(
            [
                to_ratio(config.preamble_capture_db),
                to_ratio(config.late_capture_db),
                to_ratio(config.training_db),
                config.rssi_noise_db,
            ]
        ),
        keys=np.array(
            [draw_u64(seed), draw_u64(seed, "backoff"), draw_u64(seed, "fading")], np.uint64
        ),
        counts=np.zeros(kernels.ON_THE_WAY + 1, np.int64),
    )
    return with_noise(with_links(air, links), config, np.zeros(radios))


def with_links(air: Air, links: Links) -> Air:
    """The same radios over other links; nothing may be on the air (see `moved`)."""
    count = len(links.neighbours)
    return air._replace(
        starts=links.starts.astype(np.int64),
        neighbours=links.neighbours.astype(np.int64),
        gain=zeptowatt(links.rssi_dbm),
        arriving=np.zeros(count, np.int64),
        fate=np.zeros(count, np.int8),
        sinr=np.zeros(count),
    )


def with_noise(air: Air, config: MediumConfig, rise_db: Floats) -> Air:
    """The same radios with their noise floors raised; what they can sense suffers too."""
    noise_dbm = config.noise_dbm + rise_db
    air.node[:, kernels.NOISE] = zeptowatt(noise_dbm)
    # A preamble below the noise can't be sensed.
    air.node[:, kernels.SENSE] = zeptowatt(np.maximum(noise_dbm, config.sense_dbm))
    return air


def with_kind(air: Air, kind: FrameKind) -> Air:
    """The same radios with one more kind of frame: the last row."""
    weight = kind.interference_weight
    cost = -1e6 * np.log(np.maximum(kind.success, 1e-30))
    cost = np.rint(np.clip(cost, 0.0, _COST_MAX)).astype(np.int64)
    before = air.cost if len(air.cost) else np.empty((0, len(cost)), np.int64)
    return air._replace(
        rows=np.vstack([air.rows, np.array([[kind.airtime_ns, weight]], np.int64)]),
        least=np.append(air.least, to_ratio(kind.least_snr_db)),
        wider=np.append(air.wider, kind.bandwidth_mhz / 20.0),
        cost=np.vstack([before, cost]),
    )


def without_kinds(air: Air) -> Air:
    """The same radios without any kind of frame; nothing may be on the air."""
    return air._replace(
        rows=air.rows[:0], least=air.least[:0], wider=air.wider[:0], cost=air.cost[:0]
    )


def with_channels(air: Air, channels: list[Channel]) -> Air:
    """The same radios with these channels; `TUNING` and `AIR_TUNING` are places in the list."""
    reject, known = tables(channels)
    return air._replace(reject=reject, decodes=known)


def moved(air: Air, links: Links, now_ns: int) -> Air:
    """The same radios over other links while frames are on the air: their power changes now."""
    node = air.node
    sending = np.flatnonzero(node[:, kernels.ON_AIR]).tolist()
    before = {sender: _fates_of(air, sender) for sender in sending}
    for sender in sending:
        kernels.withdraw(air, sender, now_ns, kernels.ON_THE_WAY)
    air = with_links(air, links)
    for sender in sending:
        low, high = air.starts[sender : sender + 2].tolist()
        fates = [
            before[sender].get(receiver, kernels.TOO_NOISY)
            for receiver in air.neighbours[low:high].tolist()
        ]
        air.fate[low:high] = fates
        locked = np.flatnonzero(node[:, kernels.LOCK] == sender)
        lost = locked[~np.isin(locked, air.neighbours[low:high])]
        node[lost, kernels.LOCK] = -1
        kernels.radiate(air, sender, now_ns, False)
    return air


def _fates_of(air: Air, sender: int) -> dict[int, int]:
    low, high = air.starts[sender : sender + 2].tolist()
    fates = air.fate[low:high] & (kernels.SENSED_MARK - 1)
    return dict(zip(air.neighbours[low:high].tolist(), fates.tolist(), strict=True))


def _fades(fading_db: float) -> Floats:
    """Power ratios of equally likely fades, their mean in dB zero; none without fading."""
    if not fading_db:
        return np.empty(0)
    quantiles, steps = normal_table()
    return np.asarray(10.0 ** (fading_db * (quantiles + steps / 2.0)[:_FADE_CELLS] / 10.0))


def _parameters(config: MediumConfig) -> Ints:
    parameters = np.zeros(kernels.PARAMETERS, np.int64)
    parameters[kernels.CCA] = config.cca_us * US
    parameters[kernels.DIFS] = (config.sifs_us + 2 * config.slot_us) * US
    parameters[kernels.SLOT] = config.slot_us * US
    parameters[kernels.ENERGY_DETECT] = int(zeptowatt(config.energy_detect_dbm))
    parameters[kernels.EIFS] = (config.sifs_us + config.ack_us) * US if config.eifs else 0
    parameters[kernels.WINDOW] = config.window
    parameters[kernels.WINDOW_MAX] = config.window_max
    parameters[kernels.SIFS] = config.sifs_us * US
    parameters[kernels.CAPTURE_TIME] = config.capture_window_us * US
    parameters[kernels.RETRIES] = config.retries
    return parameters
