"""From a scenario to the parts of its world: radios, links, medium, backhaul."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from coverage_map.propagation.link_budget import noise_floor_dbm
from radio_sim.backhaul import (
    VPN_KBPS,
    WIRED_KBPS,
    Backhaul,
    LinkSpec,
    loss_from_quality_permille,
    rate_from_quality_kbps,
    rate_from_snr_kbps,
)
from radio_sim.links import Links, Radios, compute_links, local_metres
from radio_sim.medium import Medium, MediumConfig
from radio_sim.scenario import PublishedLink, Scenario

# What an interferer may be below the noise and still matter when several add up.
FLOOR_BELOW_NOISE_DB = 8.0
DERIVED_SNR_DB = 12.0
DERIVED_LINKS_MAX = 6
WEAKEST_SNR_DB = 6.0


def radios_of(scenario: Scenario) -> Radios:
    """Positions in metres and radio figures of all hotspots."""
    sites = scenario.hotspots
    latitude = np.array([site.lat for site in sites], np.float64)
    longitude = np.array([site.lon for site in sites], np.float64)
    return Radios(
        positions_m=local_metres(latitude, longitude),
        height_m=np.array([site.height_m for site in sites], np.float64),
        eirp_dbm=np.array([site.eirp_dbm for site in sites], np.float64),
        gain_dbi=np.array([site.gain_dbi for site in sites], np.float64),
        frequency_mhz=np.array(
            [site.frequency_mhz or scenario.radio.frequency_mhz for site in sites], np.int64
        ),
    )


def noise_dbm_of(scenario: Scenario) -> float:
    """Noise floor of every receiver of a scenario, 20 MHz wide."""
    return float(noise_floor_dbm(noise_figure_db=scenario.radio.noise_figure_db))


def links_of(scenario: Scenario, seed: int) -> Links:
    """Who can hear whom; published wireless links have aimed antennas and a clear line."""
    return links_at(scenario, radios_of(scenario), seed)


def links_at(
    scenario: Scenario,
    radios: Radios,
    seed: int,
    movers: Collection[int] = (),
    *,
    only_movers: bool = False,
) -> Links:
    """The same with the radios elsewhere; no antenna is aimed at one that moves.

    `only_movers` leaves out the links between two that don't move.
    """
    noise = noise_dbm_of(scenario)
    index = scenario.index_of()
    wireless = [link for link in scenario.links if link.kind == "wireless"]
    ends = [(index[link.a], index[link.b]) for link in wireless]
    aimed = [(a, b) for a, b in ends if a not in movers and b not in movers]
    return compute_links(
        radios,
        seed=seed,
        environment=scenario.radio.environment,
        max_range_m=scenario.radio.max_range_m,
        floor_dbm=noise - FLOOR_BELOW_NOISE_DB,
        aimed=[] if only_movers else aimed,
        touching=movers if only_movers else None,
    )


def medium_of(scenario: Scenario, links: Links, seed: int) -> Medium:
    """The air of a scenario."""
    config = MediumConfig(
        noise_dbm=noise_dbm_of(scenario), real_fields=scenario.radio.real_fields
    )
    return Medium(links, seed, config)


def backhaul_of(scenario: Scenario, links: Links, seed: int) -> Backhaul:
    """The published backhaul; where a scenario publishes none, what the radio would carry."""
    index = scenario.index_of()
    noise = noise_dbm_of(scenario)
    specs = [
        _published(link, index[link.a], index[link.b], links, noise) for link in scenario.links
    ]
    specs = [spec for spec in specs if spec.rate_kbps] if specs else _derived(links, noise)
    return Backhaul(len(scenario.hotspots), specs, seed)


def _published(
    link: PublishedLink, one: int, other: int, links: Links, noise_dbm: float
) -> LinkSpec:
    a, b = min(one, other), max(one, other)
    if link.kind != "wireless":
        rate = WIRED_KBPS if link.kind == "wired" else VPN_KBPS
        loss = 1 if link.kind == "vpn" else 0
    elif link.quality is not None:
        rate = rate_from_quality_kbps(link.quality)
        loss = loss_from_quality_permille(link.quality)
    else:
        rate, loss = rate_from_snr_kbps(_snr_db(links, a, b, noise_dbm)), 0
    if link.rate_mbps is not None:
        rate = round(1000 * link.rate_mbps)
    return LinkSpec(a, b, link.kind, rate, loss)


def _snr_db(links: Links, a: int, b: int, noise_dbm: float) -> float:
    """SNR of the weaker direction; a link that its owners keep up has at least WEAKEST_SNR_DB."""
    there = float(links.rssi_of(a, np.array([b]))[0])
    back = float(links.rssi_of(b, np.array([a]))[0])
    return max(min(there, back) - noise_dbm, WEAKEST_SNR_DB)


def _derived(links: Links, noise_dbm: float) -> list[LinkSpec]:
    """Each hotspot's strongest few links of DERIVED_SNR_DB and more both ways."""
    chosen: dict[tuple[int, int], float] = {}
    for node in range(len(links.starts) - 1):
        low, high = links.starts[node], links.starts[node + 1]
        near = links.neighbours[low:high]
        there = links.rssi_dbm[low:high] - noise_dbm
        order = np.lexsort((near, -there))[:DERIVED_LINKS_MAX]
        for place in order.tolist():
            peer = int(near[place])
            back = float(links.rssi_of(peer, np.array([node]))[0]) - noise_dbm
            snr = min(float(there[place]), back)
            if snr >= DERIVED_SNR_DB:
                chosen[min(node, peer), max(node, peer)] = snr
    return [
        LinkSpec(a, b, "wireless", rate_from_snr_kbps(snr), 0)
        for (a, b), snr in sorted(chosen.items())
    ]
