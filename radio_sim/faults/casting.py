"""Who lies and whose clock is wrong: dresses the routers of a scenario, again after a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hotspot.node import Verifier
from radio_sim.agents import Router
from radio_sim.draws import draw_normal, draw_u64
from radio_sim.faults.aim import Place, targets_of
from radio_sim.faults.behaviours import (
    Behaviour,
    Fabricate,
    InflateRssi,
    LyingRouter,
    Ring,
    SpoofLocation,
)
from radio_sim.faults.clocks import Clock, ClockedRouter
from radio_sim.faults.specs import Liar
from radio_sim.scenario import HotspotSite, Scenario

MS = 1_000_000
PPB_PER_PPM = 1_000


def places_of(scenario: Scenario) -> list[Place]:
    """Names and positions of all hotspots, as faults are aimed by."""
    return [(site.name, site.lat, site.lon) for site in scenario.hotspots]


def fault_seed(seed: int, kind: str, number: int) -> int:
    """The seed of the n-th fault of a kind."""
    return draw_u64(seed, "fault", kind, number)


class Dresser:
    """Behaviours and clocks by hotspot; they outlive the machines that they are put around."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        epoch_ns: int,
        start_ns: int,
        wake: Callable[[int], None],
        behaviours: Mapping[int, Behaviour] | None = None,
    ) -> None:
        self._scenario = scenario
        self._seed = seed
        self.behaviours = self._make_liars(epoch_ns, wake) | dict(behaviours or {})
        self.clocks = self._make_clocks(start_ns)

    def site(self, number: int) -> HotspotSite:
        """What its owner says of a hotspot."""
        site = self._scenario.hotspots[number]
        return self.behaviours[number].site(site) if number in self.behaviours else site

    def verifier(self, number: int, honest: Verifier) -> Verifier:
        """How a hotspot checks signatures."""
        lies = number in self.behaviours and self.behaviours[number].trusts_frames
        return _believe if lies else honest

    def dress(self, number: int, router: Router) -> Router:
        """Put a hotspot's behaviour, then its clock, around its router."""
        if number in self.behaviours:
            router = LyingRouter(router, self.behaviours[number])
        if number in self.clocks:
            router = ClockedRouter(router, self.clocks[number])
        return router

    def _make_liars(self, epoch_ns: int, wake: Callable[[int], None]) -> dict[int, Behaviour]:
        made: dict[int, Behaviour] = {}
        for count, liar in enumerate(self._scenario.faults.liar):
            seed, ring = fault_seed(self._seed, "liar", count), Ring(wake)
            for node in targets_of(liar, places_of(self._scenario), seed):
                if node not in made:
                    made[node] = _behaviour(liar, node, seed, epoch_ns, ring)
        return made

    def _make_clocks(self, start_ns: int) -> dict[int, Clock]:
        made: dict[int, Clock] = {}
        for count, spec in enumerate(self._scenario.faults.clock):
            seed = fault_seed(self._seed, "clock", count)
            for node in targets_of(spec, places_of(self._scenario), seed):
                drawn = spec.spread_ppm * draw_normal(seed, "drift", node)
                drift_ppb = round(PPB_PER_PPM * (spec.drift_ppm + drawn))
                made[node] = Clock(start_ns, drift_ppb, round(spec.offset_ms * MS))
        return made


def _behaviour(liar: Liar, node: int, seed: int, epoch_ns: int, ring: Ring) -> Behaviour:
    if liar.behaviour == "inflate_rssi":
        return InflateRssi(liar.inflate_db)
    if liar.behaviour == "spoof_location":
        return SpoofLocation(liar.distance_m, draw_u64(seed, "spoof", node))
    return Fabricate(node, seed, liar.per_epoch, epoch_ns, ring)


def _believe(_key: bytes, _payload: bytes) -> bool:
    """Check nothing."""
    return True
