"""Per-epoch secrets: a hash chain whose anchor is registered, revealed link by link.

x_(e-1) = H(x_e), so that anyone can check a revealed link against the anchor, and nobody can
foresee the next. Links are kept at every `STRIDE`-th epoch; between two kept links at most
`STRIDE` hashes are made.
"""

from __future__ import annotations

from chain.draws import chain_link, digest, u32

STRIDE = 256


class SecretChain:
    """The links x_first .. x_(first + length - 1), derived from the hotspot's seed."""

    def __init__(self, seed: bytes, first_epoch: int, length: int) -> None:
        if length < 1:
            raise ValueError("length: a chain needs at least one link")
        self.first_epoch = first_epoch
        self.length = length
        self._kept: dict[int, bytes] = {}
        link = digest("chain-seed", seed, u32(first_epoch), u32(length))
        for epoch in range(self.last_epoch, first_epoch - 1, -1):
            if epoch % STRIDE == 0 or epoch == self.last_epoch:
                self._kept[epoch] = link
            link = chain_link(link)
        self.anchor = link
        self._recent: dict[int, bytes] = {}

    @property
    def last_epoch(self) -> int:
        """Last epoch that has a link."""
        return self.first_epoch + self.length - 1

    def covers(self, epoch: int) -> bool:
        """Whether this chain holds a secret for the epoch."""
        return self.first_epoch <= epoch <= self.last_epoch

    def link(self, epoch: int) -> bytes:
        """x_epoch. Raises KeyError outside the chain."""
        if not self.covers(epoch):
            raise KeyError(epoch)
        if epoch not in self._recent:
            if len(self._recent) >= 8:
                self._recent.clear()
            self._recent[epoch] = self._walk(epoch)
        return self._recent[epoch]

    def _walk(self, epoch: int) -> bytes:
        kept = min(-(-epoch // STRIDE) * STRIDE, self.last_epoch)
        link = self._kept[kept]
        for _ in range(kept - epoch):
            link = chain_link(link)
        return link
