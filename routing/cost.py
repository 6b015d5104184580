"""What a packet pays on a link, in microseconds per 1,500 bytes. Integers, standard library only.

Three parts: its own transmission (with the repeats that loss costs), a fixed price per hop, and
waiting. Waiting is the larger of the backlog that was measured and the M/M/1 mean that the
utilisation implies. Utilisation is the larger of load over rate and the busy share of the air: on a
shared channel a link with no load of its own still waits for its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

from routing.types import LinkSample

PACKET_BITS = 12_000
HOP_US = 200
MAX_WAIT_US = 2_000_000
_FULL_PERMILLE = 980


@dataclass(frozen=True, slots=True)
class LinkEstimate:
    """What an expert believes about a link; units as in LinkSample."""

    rate_kbps: int
    load_kbps: int
    busy_permille: int
    queue_bytes: int
    loss_permille: int


def estimate_of(sample: LinkSample) -> LinkEstimate:
    """Take the sample itself for a belief."""
    return LinkEstimate(
        sample.rate_kbps,
        sample.load_kbps,
        sample.busy_permille,
        sample.queue_bytes,
        sample.loss_permille,
    )


def is_usable(estimate: LinkEstimate) -> bool:
    """Tell whether the link carries anything at all."""
    return estimate.rate_kbps > 0 and estimate.loss_permille < 1_000


def transmission_us(rate_kbps: int, loss_permille: int) -> int:
    """Return the expected transmission time of 1,500 bytes, repeats included."""
    return PACKET_BITS * 1_000 * 1_000 // (rate_kbps * (1_000 - loss_permille))


def utilisation_permille(estimate: LinkEstimate) -> int:
    """Share of the link's time that is taken; above 1,000 when more is offered than fits."""
    own = 1_000 * estimate.load_kbps // estimate.rate_kbps
    return max(own, estimate.busy_permille)


def waiting_us(estimate: LinkEstimate) -> int:
    """Return the expected wait before transmission, at most MAX_WAIT_US (text above)."""
    share = min(utilisation_permille(estimate), _FULL_PERMILLE)
    mean = transmission_us(estimate.rate_kbps, 0) * share // (1_000 - share)
    backlog = estimate.queue_bytes * 8_000 // estimate.rate_kbps
    return min(MAX_WAIT_US, max(mean, backlog))


def unloaded_us(estimate: LinkEstimate) -> int:
    """Cost with nobody else about: the metric of the plain shortest path."""
    return HOP_US + transmission_us(estimate.rate_kbps, estimate.loss_permille)


def loaded_us(estimate: LinkEstimate) -> int:
    """Cost with the traffic that the estimate holds."""
    return unloaded_us(estimate) + waiting_us(estimate)
