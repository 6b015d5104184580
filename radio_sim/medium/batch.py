"""Many frames through the medium in one compiled loop: for planners, benches and offline runs.

The physics and the channel access are those of `Medium`: the same frames give the same receptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radio_sim.draws import draw_u64
from radio_sim.fates import FATES
from radio_sim.links import Links
from radio_sim.medium.channels import whole_channel
from radio_sim.medium.config import FrameKind, MediumConfig
from radio_sim.medium.layout import Air, Floats, Ints, Load

BROADCAST = -1
_ROOM = 1 << 16  # receptions kept before they are moved on


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Frames to send, arrays of equal length: when each is ready, its sender, its kind.

    `target` is the radio that acknowledges it, BROADCAST for none; `power_step_db` is what its
    sender stays below the power of its links. Frame i is number i for the draws.
    """

    ready_ns: Ints
    sender: Ints
    kind: Ints
    target: Ints
    power_step_db: Floats


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What became of a schedule.

    `frame`, `receiver` and `level_dbm` are the receptions in the order of their ends (empty if not
    asked for); `fates` counts what became of frames at receivers in reach.
    """

    sent: int
    heard: int
    acknowledged: int
    dropped: int
    events: int
    airtime_ns: int
    fates: dict[str, int]
    frame: Ints
    receiver: Ints
    level_dbm: Ints


def broadcasts(ready_ns: Ints, sender: Ints) -> Schedule:
    """All of kind 0, at full power, to whoever hears them."""
    count = len(ready_ns)
    return Schedule(
        ready_ns.astype(np.int64),
        sender.astype(np.int64),
        np.zeros(count, np.int64),
        np.full(count, BROADCAST, np.int64),
        np.zeros(count),
    )


def run_batch(
    links: Links,
    seed: int,
    config: MediumConfig,
    kinds: Sequence[FrameKind],
    schedule: Schedule,
    *,
    keep_receptions: bool = True,
    saturated_ns: int = 0,
    ack: FrameKind | None = None,
) -> BatchResult:
    """Send all frames of a schedule, each sender's in order of time.

    With `saturated_ns` every sender repeats its frames without pause for so long. `ack` is the
    kind of acknowledgements, needed where a frame has a target.
    """
    _check(links, kinds, schedule, ack)
    from radio_sim.medium import kernels

    air = _make_air(links, seed, config, kinds, ack)
    tuning = _tunings(air, kinds, schedule)
    load = _make_load(
        air, schedule, tuning, len(kinds) if ack else 0, keep_receptions, saturated_ns > 0
    )
    scratch = np.zeros(len(air.node), np.int64), np.zeros(len(air.node), np.int64)
    parts: list[Ints] = []
    done = False
    while not done:
        done = kernels.run(air, load, saturated_ns or kernels.NEVER - 1, *scratch)
        parts.append(load.record[: load.totals[kernels.RECORDS]].copy())
        load.totals[kernels.RECORDS] = 0
    totals = load.totals.tolist()
    receptions = np.concatenate(parts)
    return BatchResult(
        sent=totals[kernels.SENT],
        heard=totals[kernels.HEARD],
        acknowledged=totals[kernels.ACKED],
        dropped=totals[kernels.DROPPED],
        events=totals[kernels.EVENTS],
        airtime_ns=totals[kernels.AIRTIME_SUM],
        fates=dict(zip(FATES, air.counts.tolist(), strict=False)),
        frame=receptions[:, 0],
        receiver=receptions[:, 1],
        level_dbm=receptions[:, 2],
    )


def _check(
    links: Links, kinds: Sequence[FrameKind], schedule: Schedule, ack: FrameKind | None
) -> None:
    radios = len(links.starts) - 1
    for name, values, low, high in (
        ("sender", schedule.sender, 0, radios),
        ("target", schedule.target, BROADCAST, radios),
        ("kind", schedule.kind, 0, len(kinds)),
        ("ready_ns", schedule.ready_ns, 0, 1 << 62),
    ):
        if len(values) != len(schedule.ready_ns):
            raise ValueError(f"schedule.{name}: not as long as ready_ns; give one per frame")
        if len(values) and not low <= int(values.min()) <= int(values.max()) < high:
            raise ValueError(f"schedule.{name}: out of range; use {low} to {high - 1}")
    if ack is None and bool((schedule.target != BROADCAST).any()):
        raise ValueError("ack: a frame has a target; give the kind of its acknowledgement")


def _make_air(
    links: Links,
    seed: int,
    config: MediumConfig,
    kinds: Sequence[FrameKind],
    ack: FrameKind | None,
) -> Air:
    from radio_sim.medium import kernels, state

    air = state.make_air(links, draw_u64(seed, "medium"), config)
    homes = sorted(set(links.frequency_mhz.tolist()))
    # An acknowledgement goes on its sender's own channel.
    spectra = sorted({(kind.family, kind.bandwidth_mhz) for kind in kinds})
    channels = [whole_channel(mhz, config.bandwidth_mhz) for mhz in homes]
    for family, width_mhz in spectra:
        channels += [whole_channel(mhz, width_mhz, family) for mhz in homes]
    air = state.with_channels(air, channels)
    air.node[:, kernels.TUNING] = np.searchsorted(homes, links.frequency_mhz)
    for kind in [*kinds, ack] if ack else kinds:
        air = state.with_kind(air, kind)
    return air


def _tunings(air: Air, kinds: Sequence[FrameKind], schedule: Schedule) -> Ints:
    """Place of each frame's channel in the list that `_make_air` made."""
    from radio_sim.medium import kernels

    home = air.node[:, kernels.TUNING]
    homes = int(home.max(initial=0)) + 1
    spectra = sorted({(kind.family, kind.bandwidth_mhz) for kind in kinds})
    spectrum = [spectra.index((kind.family, kind.bandwidth_mhz)) for kind in kinds]
    place = np.array(spectrum, np.int64)[schedule.kind]
    return np.asarray(homes * (1 + place) + home[schedule.sender], np.int64)


def _make_load(
    air: Air, schedule: Schedule, tuning: Ints, ack_row: int, keep_receptions: bool, again: bool
) -> Load:
    from radio_sim.medium import kernels

    radios, frames = len(air.node), len(schedule.ready_ns)
    order = np.lexsort((schedule.ready_ns, schedule.sender)).astype(np.int64)
    counts = np.bincount(schedule.sender, minlength=radios)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    leaves = 1 << (3 * radios - 1).bit_length()
    load = Load(
        at=schedule.ready_ns,
        row=schedule.kind,
        tuning=tuning,
        factor=10.0 ** (-schedule.power_step_db / 10.0),
        target=schedule.target,
        first=first,
        order=order,
        head=first[:-1].copy(),
        again=again,
        ack_row=ack_row,
        tries=np.zeros(radios, np.int64),
        acks=np.full(radios, -1, np.int64),
        on_air=np.full(radios, -1, np.int64),
        time=np.full(leaves, kernels.NEVER, np.int64),
        winner=np.concatenate([np.zeros(leaves), np.arange(leaves)]).astype(np.int64),
        totals=np.zeros(kernels.TOTALS, np.int64),
        record=np.zeros((_ROOM + radios if keep_receptions else 0, 3), np.int64),
    )
    load.totals[kernels.NEXT_NUMBER] = frames
    for place in range(leaves - 1, 0, -1):
        load.winner[place] = load.winner[2 * place]
    for sender in np.flatnonzero(counts).tolist():
        ready_ns = int(schedule.ready_ns[order[first[sender]]])
        kernels.set_time(load.time, load.winner, 2 * radios + sender, ready_ns)
    return load
