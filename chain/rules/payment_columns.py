"""What a settlement over arrays shares out, and the payments that it makes, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, overload

from chain.rules.payments import Payment

# Payments that are made at once when somebody goes through all of them.
STEP = 1 << 14


class Jobs:
    """Amounts to share out, in order.

    Each has the number of whom it is shared among, the amount, and by number in `kinds` and
    `sources` what it pays for and whose it is.
    """

    def __init__(self, np: Any) -> None:
        self.np = np
        self.kinds: list[str] = []
        self.sources: list[bytes] = []
        self._kind: dict[str, int] = {}
        self._source: dict[bytes, int] = {}
        self._rows: list[tuple[int, int, int, int]] = []
        self._blocks: list[Any] = []

    def number_kind(self, kind: str) -> int:
        """The number of a kind."""
        number = self._kind.setdefault(kind, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(kind)
        return number

    def number_source(self, source: bytes) -> int:
        """The number of a source."""
        number = self._source.setdefault(source, len(self.sources))
        if number == len(self.sources):
            self.sources.append(source)
        return number

    def add(self, among: int, ucr: int, kind: str, source: bytes) -> None:
        """Add one."""
        self._rows.append((among, ucr, self.number_kind(kind), self.number_source(source)))

    def add_all(self, among: Any, ucr: Any, kinds: Any, sources: Any) -> None:
        """Add many; `kinds` and `sources` hold numbers."""
        self._flush()
        self._blocks.append(self.np.stack((among, ucr, kinds, sources)))

    def _flush(self) -> None:
        np = self.np
        rows = np.array(self._rows, np.int64).reshape(-1, 4)
        self._blocks.append(rows.T)
        self._rows = []

    def columns(self) -> Any:
        """(among, ucr, kind, source) of all, as four rows of one array."""
        self._flush()
        self._blocks = [self.np.concatenate(self._blocks, axis=1)]
        return self._blocks[0]


class SharedPayments(Sequence[Payment]):
    """The payments of one settlement: payment `n` is the share of a hotspot in job `job[n]`.

    `places` has the cell of each job, `owners` the account of each hotspot.
    """

    def __init__(
        self,
        epoch: int,
        jobs: Jobs,
        places: Any,
        owners: Sequence[bytes],
        job: Any,
        hotspots: Any,
        shares: Any,
    ) -> None:
        np = jobs.np
        _, _, self._kind, self._source = jobs.columns()
        self._epoch, self._kinds, self._sources = epoch, jobs.kinds, jobs.sources
        self._places, self._owners = places, owners
        self._job, self._hotspots = job.astype(np.int32), hotspots.astype(np.int32)
        self._shares = shares

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[Payment]:
        for start in range(0, len(self), STEP):
            yield from self._make(slice(start, start + STEP))

    @overload
    def __getitem__(self, index: int) -> Payment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Payment]: ...

    def __getitem__(self, index: int | slice) -> Payment | list[Payment]:
        if isinstance(index, slice):
            return self._make(index)
        number = range(len(self))[index]
        return self._make(slice(number, number + 1))[0]

    def _make(self, part: slice) -> list[Payment]:
        job, hotspots = self._job[part], self._hotspots[part].tolist()
        return list(
            map(
                Payment,
                *(repeat(self._epoch), map(self._kinds.__getitem__, self._kind[job].tolist())),
                *(map(self._owners.__getitem__, hotspots), hotspots),
                *(self._places[job].tolist(), self._shares[part].tolist()),
                map(self._sources.__getitem__, self._source[job].tolist()),
            )
        )
