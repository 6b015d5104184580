"""What each expert believes a link costs; which expert to believe is the guard's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from routing.cost import LinkEstimate, estimate_of, loaded_us, unloaded_us
from routing.graph import LinkGraph
from routing.guard import MODEL, NO_MODEL, PLAN, SHORTEST_PATH
from routing.telemetry.history import History
from routing.types import FlowClass, Forecast, Link, LinkSample

HEADROOM_PERMILLE = 50
FULL_QUEUE_MS = 200  # what a radio's queue holds before it drops, as in radio_sim/backhaul.py
DRAINS_PERMILLE = 900


def forecast_estimate(measured: LinkEstimate, forecast: Forecast, flow: FlowClass) -> LinkEstimate:
    """Replace measured load and rate by what is to come.

    AI requests care about bad moments: p90 of the load. Jobs live on what is surely there: p90 of
    the load, p10 of the rate, over the far horizon. The rest takes the median. The busy share moves
    with the link's own load, since the forecast doesn't know the neighbours' share.
    """
    at = -1 if flow is FlowClass.JOB else 0
    median = flow is FlowClass.BEST_EFFORT
    load = int(forecast.load_p50_kbps[at] if median else forecast.load_p90_kbps[at])
    rate = measured.rate_kbps
    if flow is FlowClass.JOB:
        rate = max(1, min(rate, int(forecast.rate_p10_kbps[at])))
    return moved_to(measured, rate, load)


def moved_to(measured: LinkEstimate, rate_kbps: int, load_kbps: int) -> LinkEstimate:
    """Return a link with a coming rate and load; the air is busier by the load that comes."""
    shift = 1_000 * (load_kbps - measured.load_kbps) // max(1, measured.rate_kbps)
    busy = min(1_000, max(0, measured.busy_permille + shift))
    load = max(0, load_kbps)
    return replace(measured, rate_kbps=rate_kbps, load_kbps=load, busy_permille=busy)


def moved_estimate(measured: LinkEstimate, shift_kbps: int) -> LinkEstimate:
    """Return what a link would have measured with that much more (or less) traffic of ours on it.

    Beyond its rate a queue fills; below nine tenths of it one has drained by the next round.
    """
    rate, load = measured.rate_kbps, max(0, measured.load_kbps + shift_kbps)
    busy = min(1_000, max(0, measured.busy_permille + 1_000 * shift_kbps // rate))
    queue = measured.queue_bytes
    if shift_kbps > 0 and load > rate:
        queue = max(queue, rate * FULL_QUEUE_MS // 8)
    elif shift_kbps < 0 and max(busy, 1_000 * load // rate) < DRAINS_PERMILLE:
        queue = 0
    return replace(measured, load_kbps=load, busy_permille=busy, queue_bytes=queue)


class Beliefs:
    """Link estimates and costs of all experts at one moment; `forecasts` hold finite numbers."""

    def __init__(
        self, graph: LinkGraph, history: History, forecasts: Mapping[Link, Forecast]
    ) -> None:
        self._graph = graph
        self._history = history
        self._forecasts = forecasts

    def estimate(self, link: Link, expert: str, flow: FlowClass) -> LinkEstimate:
        """Return what the expert believes of a link that the graph knows."""
        if expert == SHORTEST_PATH:
            return self._graph.slow(link)
        quick = self._graph.quick(link)
        forecast = self._forecasts.get(link)
        if expert in (NO_MODEL, PLAN) or forecast is None:
            return quick
        return forecast_estimate(quick, forecast, flow)

    def costs(self, expert: str, flow: FlowClass, now_ms: int) -> dict[Link, int]:
        """Return the expert's cost of every live link, us per 1,500 bytes."""
        price = unloaded_us if expert == SHORTEST_PATH else loaded_us
        return self._graph.costs(now_ms, lambda link: price(self._safe(link, expert, flow)))

    def _safe(self, link: Link, expert: str, flow: FlowClass) -> LinkEstimate:
        # Smoothing can lag behind a link that has just come back with a rate.
        estimate = self.estimate(link, expert, flow)
        return replace(
            estimate,
            rate_kbps=max(1, estimate.rate_kbps),
            loss_permille=min(999, estimate.loss_permille),
        )

    def recent_costs(
        self, samples: int, now_ms: int, shift_kbps: Mapping[Link, int] | None = None
    ) -> dict[Link, int]:
        """Return each live link's mean measured cost over its last samples.

        `shift_kbps`: own traffic by link that would have been there besides, or not.
        """
        shifts = shift_kbps or {}
        result = {}
        for link in self._graph.alive(now_ms):
            usable = [s for s in self._history.of(link)[-samples:] if s.rate_kbps > 0]
            costs = [
                loaded_us(replace(estimate, loss_permille=min(999, estimate.loss_permille)))
                for estimate in (self._shifted(s, shifts.get(link, 0)) for s in usable)
            ]
            if costs:
                result[link] = sum(costs) // len(costs)
        return result

    def _shifted(self, sample: LinkSample, shift_kbps: int) -> LinkEstimate:
        measured = estimate_of(sample)
        return moved_estimate(measured, shift_kbps) if shift_kbps else measured

    def measured(self, link: Link, flow: FlowClass) -> LinkEstimate:
        """Return a link that the graph knows as lately measured, its rate above zero."""
        return self._safe(link, NO_MODEL, flow)


def node_rates_kbps(
    hops: tuple[int, ...], links: Mapping[Link, LinkEstimate], own_kbps: Mapping[int, int]
) -> dict[int, int]:
    """Return what each radio of a path could carry of it, were it all that jobs send there.

    Airtime, not links, is what runs out: a relay's radio receives and sends every byte, so the
    rates of its two links add harmonically within the radio's free share. `own_kbps`: what our jobs
    send through each radio now, which is no load to them.
    """
    return {
        node: _node_rate_kbps(
            [one for link, one in links.items() if node in link], own_kbps.get(node, 0)
        )
        for node in hops
        if links
    }


def _node_rate_kbps(links: Sequence[LinkEstimate], own_kbps: int) -> int:
    """Return what one radio can carry of a path that uses these links of it.

    What the job itself sends is no reason for it to slow down.
    """
    load = sum(1_000 * max(0, link.load_kbps - own_kbps) // link.rate_kbps for link in links)
    own = sum(1_000 * own_kbps // link.rate_kbps for link in links)
    busy = max(link.busy_permille for link in links) - own
    free = max(0, 1_000 - HEADROOM_PERMILLE - max(load, busy))
    ps_per_bit = sum(10**9 // link.rate_kbps for link in links)
    return free * 10**6 // max(1, ps_per_bit)


EXPERT_REASONS = {
    SHORTEST_PATH: "least transmission time",
    NO_MODEL: "least delay at the load measured",
    MODEL: "least delay at the load forecast",
    PLAN: "fills the fullest radio least",
}
