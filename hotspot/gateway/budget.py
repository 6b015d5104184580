"""How often a gateway may ask once more: a fifth of its requests, and a handful saved up.

When a provider fails, every request that it had is retried elsewhere. If that is another failure
(the network is down, the request itself breaks models) retries only add load. A bucket that each
new request fills by a fifth, and each retry or hedge empties by one, keeps them a small share
whatever happens.
"""

from __future__ import annotations

SHARE_PERMILLE = 200
MOST = 10


class RetryBudget:
    """Counts in thousandths; starts full."""

    def __init__(self) -> None:
        self._left = 1_000 * MOST
        self.spent = 0
        self.refused = 0

    def earn(self) -> None:
        """A new request came."""
        self._left = min(1_000 * MOST, self._left + SHARE_PERMILLE)

    def spend(self) -> bool:
        """Take one retry; False when there is none left."""
        if self._left < 1_000:
            self.refused += 1
            return False
        self._left -= 1_000
        self.spent += 1
        return True
