"""Vectors of sharing: exact splits, overlap, trust rounds, burns, dues."""

from __future__ import annotations

from typing import Any

from chain.params import PRESETS
from chain.rules.burns import compute_burn
from chain.rules.cell_work import compute_overlap_weights
from chain.rules.split import compute_split
from chain.rules.trust import TOTAL, compute_trust
from chain.state import Session
from chain.vectors.suite import Cases, Draws, Json, Suite


def _split(given: dict[str, Any]) -> Json:
    split = compute_split(given["amount_ucr"], given["weights"])
    return {"shares_ucr": list(split.shares), "dust_ucr": split.dust_ucr}


def _overlap(given: dict[str, Any]) -> Json:
    ranked = [(score, number) for number, score in enumerate(given["scores"])]
    return compute_overlap_weights(ranked, PRESETS[given["preset"]].overlap_permille)


def _trust(given: dict[str, Any]) -> Json:
    links = {(low, high): count for low, high, count in given["links"]}
    return compute_trust(links, given["seeds"], given["before"], PRESETS[given["preset"]])


def _burn(given: dict[str, Any]) -> Json:
    session = Session(
        *(0, bytes(32), 0, 1, 0, given["relay_price_ucr"], given["ai_price_ucr"]),
        *(given["cap_ucr"], 0, bytes(32)),
    )
    session.claimed_ucr = given["claimed_ucr"]
    session.relayed_bytes, session.ai_tokens = given["before"]
    burn = compute_burn(session, *given["after"])
    return {"relay_ucr": burn.relay_ucr, "ai_ucr": burn.ai_ucr}


SPLITS: tuple[tuple[str, int, list[int]], ...] = (
    ("nothing to share", 0, [1, 2]),
    ("one takes all", 7, [5]),
    ("even", 9, [1, 1, 1]),
    ("a tie of remainders goes to the earlier", 10, [1, 1, 1]),
    ("a weight of zero gets nothing", 10, [0, 3, 0]),
    ("less than there are", 2, [1] * 5),
    ("the worked table of docs/rewards.md", 11_111_112,
     [960_000_000_000, 288_000_000_000, 125_000_000_000, 3_750_000_000]),
    ("beyond 64 bits on the way", (1 << 63) - 1, [(1 << 63) - 1, 1, (1 << 62) + 7]),
)  # fmt: skip


def _sharing_cases() -> Cases:
    for name, amount, weights in SPLITS:
        yield f"split: {name}", "split", {"amount_ucr": amount, "weights": weights}
    draw = Draws("sharing")
    for number in range(16):
        weights = [draw.between(0, 10 ** draw.between(0, 15)) for _ in range(number + 1)]
        weights[0] += 1
        amount = draw.between(0, 10 ** draw.between(1, 18))
        yield f"split: drawn {number}", "split", {"amount_ucr": amount, "weights": weights}
    scores = [10**9 - 3 * number for number in range(14)]
    for preset in sorted(PRESETS):
        yield f"overlap: {preset}", "overlap", {"preset": preset, "scores": scores}


SHARING = Suite(
    "sharing",
    "Exact splits by largest remainders, and the overlap weights of scores ranked best first.",
    {"split": _split, "overlap": _overlap},
    _sharing_cases,
)


def _trust_cases() -> Cases:
    chain = [[n, n + 1, 3] for n in range(5)]
    ring = [[3, 4, 9], [4, 5, 9], [3, 5, 9]]
    shapes: tuple[tuple[str, list[list[int]], list[int], int], ...] = (
        ("nobody linked", [], [0], 3),
        ("a pair", [[0, 1, 1]], [0], 2),
        ("a chain", chain, [0], 6),
        ("two seeds", chain, [0, 5], 6),
        ("a ring that no seed hears", [[0, 1, 2], *ring], [0], 6),
        ("a ring behind one edge", [[0, 1, 2], [1, 3, 1], *ring], [0], 6),
        ("weights beyond the cap", [[0, 1, 100], [0, 2, 1]], [0], 3),
    )
    for name, links, seeds, count in shapes:
        given = {"preset": "minimal", "links": links, "seeds": seeds, "before": [0] * count}
        yield f"{name}, first settlement", "trust", given
        before = _trust(given)
        yield f"{name}, second settlement", "trust", {**given, "before": before}
    draw = Draws("trust")
    links = [
        [low, high, draw.between(1, 6)]
        for low in range(24)
        for high in range(low + 1, 24)
        if draw.between(0, 4) == 0
    ]
    before = [draw.between(0, TOTAL // 24) for _ in range(24)]
    given = {"preset": "mainnet", "links": links, "seeds": [0, 7], "before": before}
    yield "drawn", "trust", given


TRUST = Suite(
    "trust",
    "Trust per hotspot, out of 2^40, after a settlement's rounds; links are [low, high, epochs].",
    {"trust": _trust},
    _trust_cases,
)


def _work_cases() -> Cases:
    prices = {"relay_price_ucr": 1_000_000, "ai_price_ucr": 2_000_000}
    base = {**prices, "cap_ucr": 10_000_000, "claimed_ucr": 0, "before": [0, 0], "after": [0, 0]}
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("nothing", {}),
        ("a mebibyte", {"after": [1 << 20, 0]}),
        ("a thousand tokens", {"after": [0, 1_000]}),
        ("rounding down", {"after": [(1 << 20) - 1, 999]}),
        ("what rounding left comes later", {"before": [1, 1], "after": [3, 2]}),
        ("both kinds", {"after": [1 << 21, 1_500]}),
        ("relay takes what is left first", {"claimed_ucr": 8_500_000, "after": [1 << 20, 1_000]}),
        ("nothing is left", {"claimed_ucr": 10_000_000, "after": [1 << 30, 10**6]}),
        ("beyond 64 bits on the way", {"after": [(1 << 64) - 1, (1 << 64) - 1]}),
        ("free of charge", {"relay_price_ucr": 0, "ai_price_ucr": 0, "after": [1 << 30, 10**6]}),
        ("the dearest", {"relay_price_ucr": (1 << 64) - 1, "after": [1, 0]}),
    )
    for name, change in changes:
        yield f"burn: {name}", "burn", {**base, **change}


WORK = Suite(
    "work",
    "What new totals of relayed bytes and tokens burn of a session's escrow.",
    {"burn": _burn},
    _work_cases,
)
