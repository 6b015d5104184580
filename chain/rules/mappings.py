"""What a mapping is worth, and when: by the uncertainty that it takes off the map, if others agree.

A mapping is what one report plausibly heard in one cell of resolution 9. Its mapper could have
stayed at home, so nothing is paid before an observation that doesn't come from it agrees: at least
half of the hotspots that it heard must have been heard, by witnesses that count, in the same or a
neighbouring reward cell since the settlement before. Other mappers don't confirm: their keys are
free, and one person can have many. Until somebody agrees its pay waits; after
`mapper_lapse_settlements` it goes back to the cell.

Keys share what a cell is worth: a second one for the same place adds nothing. A part of a cell that
was mapped yesterday is worth next to nothing today.
"""

from __future__ import annotations

from chain.cells import is_same_or_neighbour
from chain.geo import cell_parent
from chain.params import Params
from chain.rules.cell_work import MappingPlace
from chain.rules.payday import Payday, process_mapper_pay
from chain.rules.payments import NOBODY
from chain.state import Mapping, State

PERMILLE = 1_000


def get_heard(mapping: Mapping) -> list[int]:
    """The hotspots that a mapping heard."""
    heard = mapping.heard
    return [int.from_bytes(heard[at : at + 4], "big") for at in range(0, len(heard), 4)]


def compute_units(params: Params, heard: int, age: int) -> int:
    """What hearing so many hotspots takes off a map that is `age` settlements old, in dB^2."""
    permille = params.mapper_heard_permille[min(heard, len(params.mapper_heard_permille)) - 1]
    for least, units in params.mapper_age_units:
        if age >= least:
            return units * permille // PERMILLE
    return 0


def get_age(state: State, cell: int) -> int:
    """Settlements since a cell of resolution 9 was mapped; the longest that counts if never."""
    longest = state.params.mapper_age_units[0][0]
    before = state.mapped.get(cell)
    return longest if before is None else state.settlement - before


def get_counted_cells(day: Payday) -> dict[int, list[int]]:
    """Per hotspot that a mapping heard, the reward cells where a witness that counts heard it."""
    mappings = day.state.mappings.values()
    wanted = {index for mapping in mappings for index in get_heard(mapping)}
    cells: dict[int, list[int]] = {}
    for cell, hotspot in day.find_heard(wanted) if wanted else ():
        cells.setdefault(hotspot, []).append(cell)
    return cells


def count_agreed(
    state: State, cells: dict[int, list[int]], place: MappingPlace, mapping: Mapping
) -> int:
    """How many hotspots of a mapping were heard nearby by witnesses; 0 if not at least half."""
    here, heard = cell_parent(place[0], state.params.reward_resolution), get_heard(mapping)
    agreed = sum(
        any(is_same_or_neighbour(here, cell) for cell in cells.get(index, ())) for index in heard
    )
    return agreed if 2 * agreed >= len(heard) else 0


def compute_agreed(day: Payday) -> dict[MappingPlace, int]:
    """Per mapping, how many of the hotspots that it heard others heard nearby."""
    state, cells = day.state, get_counted_cells(day)
    return {
        place: count_agreed(state, cells, place, mapping)
        for place, mapping in state.mappings.items()
    }


def process_waiting_mappings(day: Payday, agreed: dict[MappingPlace, int]) -> None:
    """Pay mappings that waited and found somebody who agrees; send back what waited too long."""
    state = day.state
    for place, mapping in sorted(state.mappings.items()):
        if not mapping.lapse:
            continue
        cell = cell_parent(place[0], state.params.reward_resolution)
        if agreed[place]:
            process_mapper_pay(day, cell, place[2], mapping.held_ucr)
            process_mapped(state, place[0])
        elif mapping.lapse <= state.settlement:
            # Nobody's pool leaves no owner out: what lapsed had its owners left out before.
            state.add("pools", (cell, NOBODY), mapping.held_ucr)
        else:
            continue
        process_mapping_end(state, place)


def process_mapping_work(day: Payday, agreed: dict[MappingPlace, int]) -> list[MappingPlace]:
    """Give new mappings their part in what their cells pay; which they are.

    Where somebody agrees with one, those of the same place that nobody agrees with get nothing.
    """
    state, parts = day.state, dict[int, list[MappingPlace]]()
    for place, mapping in sorted(state.mappings.items()):
        if not mapping.lapse:
            parts.setdefault(place[0], []).append(place)
    for part, places in parts.items():
        sure = [place for place in places if agreed[place]]
        cell, age = cell_parent(part, state.params.reward_resolution), get_age(state, part)
        units = {}
        for place in sure or places:
            heard = agreed[place] or len(state.mappings[place].heard) // 4
            if value := compute_units(state.params, heard, age):
                units[place] = value
        if units:
            day.mappers.setdefault(cell, {})[part] = units
            day.mapper_units[cell] = day.mapper_units.get(cell, 0) + max(units.values())
    return [place for places in parts.values() for place in places]


def process_new_mappings(
    day: Payday, places: list[MappingPlace], agreed: dict[MappingPlace, int]
) -> None:
    """Pay new mappings that somebody agrees with; let others wait, if there is pay to wait for."""
    state = day.state
    for place in places:
        mapping, cell = state.mappings[place], cell_parent(place[0], state.params.reward_resolution)
        if agreed[place]:
            process_mapper_pay(day, cell, place[2], mapping.held_ucr)
            process_mapped(state, place[0])
        elif mapping.held_ucr:
            mapping.lapse = state.settlement + state.params.mapper_lapse_settlements
            state.touch("mappings", place)
            continue
        process_mapping_end(state, place)


def process_mapped(state: State, cell: int) -> None:
    """Note that a cell of resolution 9 was mapped in this settlement."""
    state.mapped[cell] = state.settlement
    state.touch("mapped", cell)


def process_mapping_end(state: State, place: MappingPlace) -> None:
    """Forget a mapping that was paid, or never will be."""
    del state.mappings[place]
    state.touch("mappings", place)


def process_old_maps(state: State) -> None:
    """Forget when cells were mapped that count as never mapped by now."""
    longest = state.params.mapper_age_units[0][0]
    old = [cell for cell, at in state.mapped.items() if state.settlement - at >= longest]
    for cell in old:
        del state.mapped[cell]
        state.touch("mapped", cell)
