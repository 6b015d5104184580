"""What planning questions are asked of: hotspots, their scenes, people, terrain, money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chain.errors import UserError
from coverage_map.observations import Site
from coverage_map.planning.population import Population
from coverage_map.planning.reach import Method, reach
from coverage_map.planning.reward import Economy
from coverage_map.planning.scene import Scene, scene_of
from coverage_map.propagation.terrain import Raster

NEWEST = "newest"


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Everything that a planning question may look at.

    scenes: by (snapshot, resolution); NEWEST stands for the map as it is. A scene that isn't there
    is predicted from the sites. trusted: hotspots that the ledger trusts, None for all. about:
    which network's map it is, and of when, for people.
    """

    sites: Mapping[int, Site]
    scenes: Mapping[tuple[str, int], Scene] = field(default_factory=dict)
    population: Population | None = None
    terrain: Raster | None = None
    clutter: Raster | None = None
    economy: Economy = field(default_factory=Economy)
    trusted: tuple[int, ...] | None = None
    has_terrain: bool = False  # whoever carries a job out brings it
    about: str = ""

    def method(self, model: str, radius_m: float) -> Method:
        """How new sites are predicted; UserError where terrain is wanted and there is none."""
        if model != "statistical" and self.terrain is None and not self.has_terrain:
            raise UserError(
                "model", f"{model} needs terrain", "give elevation tiles, or model statistical"
            )
        return Method(model, self.terrain, self.clutter, radius_m)  # type: ignore[arg-type]

    def scene(self, resolution: int, snapshot: str = NEWEST) -> Scene:
        """The map at a resolution; UserError for a snapshot that isn't kept."""
        found = self.scenes.get((snapshot, resolution))
        if found is not None:
            return found
        if snapshot != NEWEST or self.scenes:
            kept = ", ".join(sorted({f"{name} at {res}" for name, res in self.scenes}))
            raise UserError("snapshot", f"no {snapshot} at res {resolution}", f"kept: {kept}")
        prints = [reach(self.sites[k], Method(), resolution) for k in sorted(self.sites)]
        return scene_of(prints, resolution)
