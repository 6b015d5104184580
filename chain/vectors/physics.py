"""Vectors of what is derived and measured: hash chains, slots, draws, distances, path loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from chain import draws, envelope, geo
from chain.params import PRESETS
from chain.rules.pairs import compute_pair
from chain.vectors.suite import Cases, Draws, Json, Suite
from chain.vectors.town import PLACES, RES_9_CELL, Town


def _hex(given: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(given[name])


def _slot(given: dict[str, Any]) -> Json:
    params = PRESETS[given["preset"]]
    parts = (_hex(given, "secret"), _hex(given, "mix"), given["sequence"])
    return {
        "offset_ms": draws.slot_ms(params, *parts),
        "power_step_db": draws.power_step_db(*parts),
    }


def _answer(given: dict[str, Any]) -> Json:
    found = draws.answer(_hex(given, "secret"), given["epoch"], given["sequence"])
    return {"answer": found.hex(), "tag": draws.tag_of(found).hex()}


def _commit(given: dict[str, Any]) -> Json:
    secret, report = _hex(given, "secret"), _hex(given, "report")
    return draws.commit(given["hotspot"], given["epoch"], secret, report).hex()


def _mix(given: dict[str, Any]) -> Json:
    secrets = [bytes.fromhex(secret) for secret in given["secrets"]]
    return draws.mix(_hex(given, "previous"), given["epoch"], secrets).hex()


def _draw(given: dict[str, Any]) -> Json:
    numbers = (given[name] for name in ("beaconer", "epoch", "sequence", "witness"))
    return draws.draw(_hex(given, "mix_after"), *numbers).hex()


def _mapper_commit(given: dict[str, Any]) -> Json:
    key, salt, report = (_hex(given, name) for name in ("key", "salt", "report"))
    cell = int(given["cell"], 16)
    return draws.mapper_commit(key, given["epoch"], salt, cell, report).hex()


def _draws_cases() -> Cases:
    draw = Draws("draws")
    for number in range(6):
        secret, mix = draw.octets(32).hex(), draw.octets(32).hex()
        epoch, sequence = draw.between(0, (1 << 32) - 1), draw.between(0, 5)
        yield f"link {number}", "chain_link", {"link": secret}
        yield f"answer {number}", "answer", {
            "secret": secret, "epoch": epoch, "sequence": sequence
        }
        for preset in sorted(PRESETS):
            yield f"slot {number} {preset}", "slot", {
                "preset": preset, "secret": secret, "mix": mix, "sequence": number % 4
            }
        yield f"commit {number}", "commit", {
            "hotspot": number, "epoch": epoch, "secret": secret,
            "report": draw.octets(14 * number).hex(),
        }
        yield f"draw {number}", "draw", {
            "mix_after": mix, "beaconer": number, "epoch": epoch, "sequence": sequence,
            "witness": draw.between(0, 300_000),
        }
        yield f"mix {number}", "mix", {
            "previous": mix, "epoch": number + 2,
            "secrets": [draw.octets(32).hex() for _ in range(number)],
        }
        yield f"open point {number}", "open_point", {
            "mix_after": mix, "claim": number, "number": number * 3
        }
        yield f"mapper commit {number}", "mapper_commit", {
            "key": draw.octets(32).hex(), "epoch": epoch, "salt": draw.octets(16).hex(),
            "cell": f"{RES_9_CELL:x}", "report": draw.octets(14 * number).hex(),
        }
        yield f"genesis mix {number}", "genesis_mix", {"network_id": draw.octets(32).hex()}


DRAWS = Suite(
    "draws",
    "Derived values of docs/records.md: chain links, answers, slots, commits, mixes, lots.",
    {
        "chain_link": lambda given: draws.chain_link(_hex(given, "link")).hex(),
        "answer": _answer,
        "slot": _slot,
        "commit": _commit,
        "mix": _mix,
        "genesis_mix": lambda given: draws.genesis_mix(_hex(given, "network_id")).hex(),
        "draw": _draw,
        "open_point": lambda given: (
            f"{draws.open_point(_hex(given, 'mix_after'), given['claim'], given['number']):064x}"
        ),
        "mapper_commit": _mapper_commit,
    },
    _draws_cases,
)


def _distance(given: dict[str, Any]) -> Json:
    return geo.distance_m(*given["from_udeg"], *given["to_udeg"])


def _cell(given: dict[str, Any]) -> Json:
    cell = int(given["cell"], 16)
    if not geo.is_cell(cell):
        return {"valid": False}
    resolution = geo.cell_resolution(cell)
    parents = [f"{geo.cell_parent(cell, level):x}" for level in range(resolution + 1)]
    return {"valid": True, "resolution": resolution, "parents": parents}


ODD_CELLS = (
    *("0", "ffffffffffffffff", "8001fffffffffff", "80f3fffffffffff", "80f5fffffffffff"),
    *("8a1f9e282837ffe", "8a1f9e28283ffff", "881f9e2829ffffe", "8009fffffffffff"),
    *("810830bffffffff", "81083ffffffffff", "81087ffffffffff", "8f1f9e282837fff"),
    *("08a1f9e282837fff", "18a1f9e282837fff"),
)


def _geo_cases() -> Cases:
    draw = Draws("geo")
    places = [list(place[1:]) for place in PLACES.values()]
    for number, place in enumerate(places):
        other = places[number * 5 % len(places)]
        yield f"near {number}", "distance_m", {"from_udeg": place, "to_udeg": other}
    for number in range(40):
        spread = 10 ** draw.between(1, 7)
        start = [draw.between(-89_000_000, 89_000_000), draw.between(-180_000_000, 180_000_000)]
        end = [
            max(-90_000_000, min(90_000_000, start[0] + draw.between(-spread, spread))),
            (start[1] + draw.between(-spread, spread) + 180_000_000) % 360_000_000 - 180_000_000,
        ]
        yield f"drawn {number}", "distance_m", {"from_udeg": start, "to_udeg": end}
    edges = ((90_000_000, 0), (-90_000_000, 180_000_000), (0, 180_000_000), (0, -180_000_000))
    for number, first in enumerate(edges):
        for second in edges:
            name = f"edge {number} to {second[0]},{second[1]}"
            yield name, "distance_m", {"from_udeg": list(first), "to_udeg": list(second)}
    for cell in [f"{place[0]:x}" for place in PLACES.values()] + [*ODD_CELLS]:
        yield f"cell {cell}", "cell", {"cell": cell}


GEO = Suite(
    "geo",
    "Distances between [latitude, longitude] in micro-degrees, and the bits of H3 cells (in hex).",
    {"distance_m": _distance, "cell": _cell},
    _geo_cases,
)


def _bounds(given: dict[str, Any]) -> Json:
    band = envelope.band_of(given["frequency_mhz"])
    if band is None:
        return None
    low, high = envelope.loss_bounds_cdb(band, given["nearest_m"], given["farthest_m"])
    return {"least_loss_cdb": low, "most_loss_cdb": high}


END = ("cell", "latitude_udeg", "longitude_udeg", "gain_cdb", "eirp_cdbm", "frequency_mhz")


def _pair(given: dict[str, Any]) -> Json:
    base = Town("pair").assertion(0)
    ends = []
    for end in ("witness", "beaconer"):
        changes = {name: given[end][name] for name in END}
        changes["cell"] = int(changes["cell"], 16)
        changes["owner"] = bytes.fromhex(given[end]["owner"])
        ends.append(replace(base, **changes))
    pair = compute_pair(*ends)
    return {name: getattr(pair, name) for name in pair.__slots__}


def _bounds_cases() -> Cases:
    distances = (0, 1, 2, 3, 5, 7, 10, 50, 99, 130, 1_000, 5_792, 31_622, 50_000, 131_071, 10**6)
    for frequency in (2_399, 2_400, 2_499, 2_500, 5_150, 5_924, 5_925, 7_124, 7_125):
        for near, far in pairwise(distances):
            yield f"{frequency} MHz {near} m", "loss_bounds", {
                "frequency_mhz": frequency, "nearest_m": near, "farthest_m": far
            }
    draw = Draws("pairs")
    places = list(PLACES.values())
    for number in range(24):
        ends = {}
        for end in ("witness", "beaconer"):
            cell, latitude, longitude = places[draw.between(0, len(places) - 1)]
            ends[end] = {
                "cell": f"{cell:x}", "latitude_udeg": latitude, "longitude_udeg": longitude,
                "gain_cdb": draw.between(-300, 1_500), "eirp_cdbm": draw.between(0, 3_600),
                "frequency_mhz": (2_437, 5_180, 6_105, 900)[number % 4],
                "owner": draw.octets(1).hex() * 32 if number % 3 else "07" * 32,
            }
        yield f"pair {number}", "pair", ends


BOUNDS = Suite(
    "envelope",
    "Least and most path loss (null outside every band), and RSSI bounds of a pair of hotspots.",
    {"loss_bounds": _bounds, "pair": _pair},
    _bounds_cases,
)
