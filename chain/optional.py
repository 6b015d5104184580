"""Packages that the ledger uses where they are installed, and does without elsewhere."""

from __future__ import annotations

from typing import Any


def get_numpy() -> Any:
    """numpy, or None where it isn't installed: a router's ledger has few hotspots."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy
