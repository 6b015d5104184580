"""Per-epoch secrets: a hash chain whose anchor is registered, revealed link by link.

x_(e-1) = H(x_e), so that anyone can check a revealed link against the anchor, and nobody can
foresee the next. The chain is made backwards and used forwards: every `STRIDE`-th link is kept,
and the links between two kept ones, a row, are made together when the first of them is asked for.
"""

from __future__ import annotations

from chain.draws import chain_link, digest, u32

STRIDE = 64
LINK_BYTES = 32
ROWS_HELD = 2  # an epoch's message needs its link and the one before


class SecretChain:
    """The links x_first .. x_(first + length - 1), derived from the hotspot's seed."""

    def __init__(self, seed: bytes, first_epoch: int, length: int, links: bytes = b"") -> None:
        """Make a chain, or take up what `kept_links` gave of it."""
        if length < 1:
            raise ValueError("length: a chain needs at least one link")
        self.first_epoch = first_epoch
        self.length = length
        # After a change of keys: x_(first - 1) of the chain before, which is revealed first.
        self.before: bytes | None = None
        self._rows: dict[int, list[bytes]] = {}  # by the epoch of the last link, backwards
        self._kept: dict[int, bytes] = {}
        if links:
            parts = (links[at : at + LINK_BYTES] for at in range(0, len(links), LINK_BYTES))
            self._kept = dict(zip(self._kept_epochs(), parts, strict=True))
        else:
            self._make(digest("chain-seed", seed, u32(first_epoch), u32(length)))

    def _make(self, link: bytes) -> None:
        for epoch in range(self.last_epoch, self.first_epoch - 1, -1):
            if epoch % STRIDE == 0 or epoch == self.last_epoch:
                self._kept[epoch] = link
            link = chain_link(link)

    def _kept_epochs(self) -> list[int]:
        """The epochs of the kept links, the last first."""
        last = self.last_epoch
        return [last, *range((last - 1) // STRIDE * STRIDE, self.first_epoch - 1, -STRIDE)]

    def kept_links(self) -> bytes:
        """Every `STRIDE`-th link, secret: the chain is made from them at once."""
        return b"".join(self._kept[epoch] for epoch in self._kept_epochs())

    @property
    def anchor(self) -> bytes:
        """The link before the first, which the ledger knows."""
        return chain_link(self.link(self.first_epoch))

    @property
    def last_epoch(self) -> int:
        """Last epoch that has a link."""
        return self.first_epoch + self.length - 1

    def covers(self, epoch: int) -> bool:
        """Whether this chain holds a secret for the epoch."""
        first_epoch = self.first_epoch if self.before is None else self.first_epoch - 1
        return first_epoch <= epoch <= self.last_epoch

    def link(self, epoch: int) -> bytes:
        """x_epoch. Raises KeyError outside the chain."""
        if not self.covers(epoch):
            raise KeyError(epoch)
        if self.before is not None and epoch < self.first_epoch:
            return self.before
        last = min(-(-epoch // STRIDE) * STRIDE, self.last_epoch)
        if last not in self._rows:
            if len(self._rows) >= ROWS_HELD:
                self._rows.clear()
            self._rows[last] = self._row(last)
        return self._rows[last][last - epoch]

    def _row(self, last: int) -> list[bytes]:
        """The links of the row that ends with a kept link, backwards."""
        row = [self._kept[last]]
        for _ in range((last - 1) % STRIDE):
            row.append(chain_link(row[-1]))
        return row
