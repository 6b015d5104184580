"""The estimator: links and sites in, a snapshot out; only hotspots that changed are predicted anew.

Prediction happens at one base resolution and is rolled up to its parents; measurements enter every
resolution directly, down to the precision that the witness's owner published and no finer.

Each hotspot has a process of its own (predict.py), refitted when its links change. `learn` fits the
one model of all hotspots (estimator_model.py), which takes longer and predicts better: from then on
it draws every footprint, but those of hotspots whose links have changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells, parents, resolutions
from coverage_map.estimator.cells import learn, learned_footprint
from coverage_map.links import EMPTY_CDBM, Link, LinkTable
from coverage_map.observations import FINEST_RESOLUTION, Site
from coverage_map.predict import Fit, Footprint, LinkSample, calibration, fit, footprint
from coverage_map.snapshot import NO_SERVER, SERVERS, Level, Snapshot, identity_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COARSEST_RESOLUTION = 5
# Deviation of the signal inside a cell from that at its witness: shadowing of the clear path.
PLACE_SIGMA_DB = 4.0
Z_10_TO_90 = 2.5631031310892007  # width of 10 % to 90 % in standard deviations
# A footprint is drawn again when a link's median has moved by more: half a step of most drivers, a
# third of a measurement's noise. So a median that wavers changes no cell, and nothing is published.
CHANGE_DB = 0.5
# The factor on all deviations is kept until it has moved by more: that would change every cell. At
# 90 % of the errors inside, 3 % more or less are 0.7 points.
SCALE_CHANGE = 0.03

Inputs = tuple[Site, tuple[tuple[int, float], ...]]  # with each witness's median in dBm


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The network as it was when learning began, and each hotspot's inputs and offset then."""

    sites: dict[int, Site]
    links: list[Link]
    medians_dbm: Floats
    inputs: dict[int, Inputs]
    offsets_db: dict[int, float]
    resolution: int

    def make(self) -> dict[int, Footprint]:
        """Fit the one model and draw every hotspot's footprint; nothing for too few links."""
        learned = learn(self.sites, self.links, self.medians_dbm)
        if learned is None:
            return {}
        return {
            index: learned_footprint(
                learned, self.sites[index], self.offsets_db[index], self.resolution
            )
            for index in sorted(self.inputs)
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """What a footprint was computed from, and the result."""

    inputs: Inputs
    fit: Fit
    footprint: Footprint
    learned: bool = False


class Estimator:
    """Keeps a footprint per hotspot; `build` makes the next snapshot."""

    def __init__(self, base_resolution: int = FINEST_RESOLUTION) -> None:
        self.base_resolution = base_resolution
        self.refitted = 0
        self._known: dict[int, _Known] = {}
        self._scale = 1.0

    def build(
        self, sites: Mapping[int, Site], table: LinkTable, epoch: int, time_ms: int
    ) -> Snapshot:
        """Snapshot of everything that the sites and links say now."""
        links, medians = _usable(sites, table)
        self._refit(sites, links, medians)
        known = [self._known[i] for i in sorted(self._known)]
        scale = self._scale_of(known)
        footprints = [k.footprint if k.learned else _scaled(k.footprint, scale) for k in known]
        predicted = merge_footprints(footprints, 1.0)
        levels = {}
        for resolution in range(self.base_resolution, COARSEST_RESOLUTION - 1, -1):
            if resolution < self.base_resolution:
                predicted = roll_up(predicted, resolution)
            levels[resolution] = join(resolution, predicted, measure(table, links, resolution))
        return Snapshot(identity_of(levels), epoch, time_ms, scale, levels)

    def learn(self, sites: Mapping[int, Site], table: LinkTable) -> bool:
        """Fit the model of all hotspots and redraw every footprint; False for too few links."""
        lesson = self.plan_learning(sites, table)
        made = lesson.make()
        self.adopt(lesson, made)
        return bool(made)

    def plan_learning(self, sites: Mapping[int, Site], table: LinkTable) -> Lesson:
        """What `learn` needs, copied: `make` may run in a thread while all this goes on."""
        links, medians = _usable(sites, table)
        self._refit(sites, links, medians)
        inputs = {index: known.inputs for index, known in self._known.items()}
        offsets = {index: known.fit.offset_db for index, known in self._known.items()}
        ends = [Link(x.beaconer, x.witness, x.cell, x.row) for x in links]
        return Lesson(dict(sites), ends, medians, inputs, offsets, self.base_resolution)

    def adopt(self, lesson: Lesson, made: Mapping[int, Footprint]) -> int:
        """Draw footprints as learned, of hotspots that are still as they were; how many."""
        taken = 0
        for index, drawn in made.items():
            known = self._known.get(index)
            if known is not None and known.inputs == lesson.inputs[index]:
                self._known[index] = replace(known, footprint=drawn, learned=True)
                taken += 1
        return taken

    def offset_db(self, hotspot: int) -> float:
        """The learned offset of a hotspot against the physics."""
        known = self._known.get(hotspot)
        return known.fit.offset_db if known else 0.0

    def _scale_of(self, known: list[_Known]) -> float:
        found = calibration([k.fit for k in known])
        if abs(found / self._scale - 1.0) > SCALE_CHANGE:
            self._scale = found
        return self._scale

    def _refit(self, sites: Mapping[int, Site], links: list[Link], medians: Floats) -> None:
        heard: dict[int, list[tuple[int, float]]] = {index: [] for index in sites}
        for link, median in zip(links, medians, strict=True):
            heard[link.beaconer].append((link.witness, float(median)))
        self._known = {i: known for i, known in self._known.items() if i in sites}
        self.refitted = 0
        for index in sorted(sites):
            inputs = (sites[index], tuple(heard[index]))
            if index in self._known and _is_near(self._known[index].inputs, inputs):
                continue
            samples = [_sample(sites[witness], median) for witness, median in heard[index]]
            learned = fit(sites[index], samples)
            made = footprint(sites[index], learned, self.base_resolution)
            self._known[index] = _Known(inputs, learned, made)
            self.refitted += 1


def _is_near(old: Inputs, new: Inputs) -> bool:
    """Whether the site is the same, heard by the same witnesses, and about as loud."""
    if old[0] != new[0] or len(old[1]) != len(new[1]):
        return False
    pairs = zip(old[1], new[1], strict=True)
    return all(a == b and abs(x - y) <= CHANGE_DB for (a, x), (b, y) in pairs)


def _usable(sites: Mapping[int, Site], table: LinkTable) -> tuple[list[Link], Floats]:
    """Measured links between known sites, and the median of each in dBm."""
    links = [x for x in table.measured() if x.beaconer in sites and x.witness in sites]
    return links, _medians(table, links)


def _scaled(footprint: Footprint, scale: float) -> Footprint:
    return replace(footprint, sd_db=footprint.sd_db * scale)


def _medians(table: LinkTable, links: list[Link]) -> Floats:
    return group_quantiles(np.arange(len(links)), table.matrix(links))[:, 1]


def _sample(witness: Site, median_dbm: float) -> LinkSample:
    return LinkSample(
        witness.latitude_deg, witness.longitude_deg, float(witness.height_m), median_dbm
    )


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted columns: sorted cells, servers strongest first, mean dBm, sd of the best."""

    cells: Cells
    servers: Ints
    servers_dbm: Floats
    sd_db: Floats


def merge_footprints(footprints: Iterable[Footprint], scale: float) -> Predicted:
    """The strongest SERVERS hotspots of each cell; `scale` calibrates the standard deviation."""
    parts = [f for f in footprints if len(f.cells)]
    if not parts:
        return _nothing()
    cells = np.concatenate([f.cells for f in parts])
    servers = np.concatenate([np.full(len(f.cells), f.server, np.int64) for f in parts])
    means = np.concatenate([f.mean_dbm for f in parts])
    sds = np.concatenate([f.sd_db for f in parts]) * scale
    order = np.lexsort((servers, -means, cells))
    cells, servers, means, sds = cells[order], servers[order], means[order], sds[order]
    unique, first = np.unique(cells, return_index=True)
    rank = np.arange(len(cells)) - np.repeat(first, np.diff([*first, len(cells)]))
    row = np.repeat(np.arange(len(unique)), np.diff([*first, len(cells)]))
    kept = rank < SERVERS
    top = np.full((len(unique), SERVERS), NO_SERVER, np.int64)
    top_dbm = np.full((len(unique), SERVERS), np.nan)
    top[row[kept], rank[kept]] = servers[kept]
    top_dbm[row[kept], rank[kept]] = means[kept]
    return Predicted(unique, top, top_dbm, sds[first])


def _nothing() -> Predicted:
    empty = np.empty((0, SERVERS))
    return Predicted(np.empty(0, np.uint64), empty.astype(np.int64), empty, np.empty(0))


def roll_up(fine: Predicted, resolution: int) -> Predicted:
    """Parents' columns: mean of the children's means, total variance, servers of the best child."""
    if not len(fine.cells):
        return fine
    above = parents(fine.cells, resolution)
    best = fine.servers_dbm[:, 0]
    # Parents of sorted cells are sorted, so each parent's children are one run.
    unique, first, size = np.unique(above, return_index=True, return_counts=True)
    mean = np.add.reduceat(best, first) / size
    square = np.add.reduceat(best**2 + fine.sd_db**2, first) / size
    order = np.lexsort((-best, above))
    strongest = order[first]
    servers_dbm = fine.servers_dbm[strongest] + (mean - best[strongest])[:, None]
    sd = np.sqrt(np.maximum(square - mean**2, 1.0))
    return Predicted(unique, fine.servers[strongest], servers_dbm, sd)


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured columns, as in Level, by sorted cell."""

    cells: Cells
    quantiles_dbm: Floats
    sd_db: Floats
    server: Ints
    counts: Ints  # (n, 5): samples, beaconers, witnesses, late, newest ms
    own_precision: NDArray[np.bool_]


def group_quantiles(groups: NDArray[np.intp], samples: NDArray[np.int16]) -> Floats:
    """10 %, 50 % and 90 % quantiles in dBm of the samples of each group, shape (groups, 3).

    groups: one number from 0 per row of `samples` (cdBm, EMPTY_CDBM where there is none); each
    group has a sample. Group and value sort as one integer: thirty times faster than by group.
    """
    if not len(groups):
        return np.empty((0, 3))
    keys = (groups[:, None].astype(np.int64) << 16) | (samples.astype(np.int64) + 32_768)
    ordered = np.sort(keys[samples != EMPTY_CDBM])
    values = ((ordered & 0xFFFF) - 32_768) / 100.0
    size = np.bincount(ordered >> 16, minlength=int(groups.max()) + 1)
    start = np.cumsum(size) - size
    place = (size - 1)[:, None] * np.array([0.1, 0.5, 0.9])
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, (size - 1)[:, None])
    low, high = values[start[:, None] + below], values[start[:, None] + above]
    return np.asarray(low + (high - low) * (place - below), np.float64)


def measure(table: LinkTable, links: list[Link], resolution: int) -> Measured:
    """What links measured in each cell of a resolution: quantiles of the best server there.

    Best is the server with the highest median. A link enters the cells that its witness's owner
    published or an ancestor of them; a coarser witness says nothing about finer cells.
    """
    own = resolutions([x.cell for x in links]) if links else np.empty(0, np.int64)
    usable = [link for link, level in zip(links, own, strict=True) if level >= resolution]
    if not usable:
        return _unmeasured()
    at = parents([x.cell for x in usable], resolution)
    cells, cell_of = np.unique(at, return_inverse=True)
    columns = np.array(
        [(x.beaconer, x.witness, x.count, x.late, x.last_ms) for x in usable], np.int64
    )
    pairs, pair_of = np.unique(
        np.column_stack((cell_of, columns[:, 0])), axis=0, return_inverse=True
    )
    quantiles = group_quantiles(pair_of.reshape(-1), table.matrix(usable))
    order = np.lexsort((pairs[:, 1], -quantiles[:, 1], pairs[:, 0]))
    _, first = np.unique(pairs[order, 0], return_index=True)
    best = order[first]
    counts = np.zeros((len(cells), 5), np.int64)
    np.add.at(counts[:, 0], cell_of, columns[:, 2])
    counts[:, 1] = np.bincount(pairs[:, 0], minlength=len(cells))
    witnesses = np.unique(np.column_stack((cell_of, columns[:, 1])), axis=0)
    counts[:, 2] = np.bincount(witnesses[:, 0], minlength=len(cells))
    np.add.at(counts[:, 3], cell_of, columns[:, 3])
    np.maximum.at(counts[:, 4], cell_of, columns[:, 4])
    published = np.zeros(len(cells), np.bool_)
    published[cell_of[own[own >= resolution] == resolution]] = True
    spread = (quantiles[best, 2] - quantiles[best, 0]) / Z_10_TO_90
    sd = np.hypot(spread, PLACE_SIGMA_DB / np.sqrt(counts[:, 2]))
    return Measured(cells, quantiles[best], sd, pairs[best, 1], counts, published)


def _unmeasured() -> Measured:
    none = np.empty(0)
    return Measured(
        none.astype(np.uint64),
        np.empty((0, 3)),
        none,
        none.astype(np.int64),
        np.empty((0, 5), np.int64),
        none.astype(np.bool_),
    )


def join(resolution: int, predicted: Predicted, measured: Measured) -> Level:
    """Both kinds of columns over the union of their cells."""
    cells = np.union1d(predicted.cells, measured.cells).astype(np.uint64)
    at = np.searchsorted(cells, predicted.cells)
    seen = np.searchsorted(cells, measured.cells)
    size = len(cells)
    quantiles = _spread(size, seen, measured.quantiles_dbm, np.nan)
    counts = _spread(size, seen, measured.counts, 0).astype(np.int64)
    servers = _spread(size, at, predicted.servers, NO_SERVER).astype(np.int64)
    servers_dbm = _spread(size, at, predicted.servers_dbm, np.nan)
    return Level(
        resolution=resolution,
        cells=cells,
        measured_p10_dbm=quantiles[:, 0],
        measured_p50_dbm=quantiles[:, 1],
        measured_p90_dbm=quantiles[:, 2],
        measured_sd_db=_spread(size, seen, measured.sd_db, np.nan),
        measured_server=_spread(size, seen, measured.server, NO_SERVER).astype(np.int64),
        count=counts[:, 0],
        hotspots=counts[:, 1],
        witnesses=counts[:, 2],
        late=counts[:, 3],
        newest_ms=counts[:, 4],
        own_precision=_spread(size, seen, measured.own_precision, 0).astype(np.bool_),
        predicted_dbm=servers_dbm[:, 0],
        predicted_sd_db=_spread(size, at, predicted.sd_db, np.nan),
        servers=servers,
        servers_dbm=servers_dbm,
    )


def _spread(size: int, rows: NDArray[np.intp], values: NDArray[np.generic], empty: float) -> Floats:
    out = np.full((size, *values.shape[1:]), empty, np.float64)
    out[rows] = values
    return out
