"""Draws: the same from any order or batch, and distributed as they claim."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radio_sim.draws import (
    draw_below,
    draw_normal,
    draw_u64,
    draw_uniform,
    draws_u64,
    mix64,
    normals,
    uniforms,
)

words = st.integers(0, 2**64 - 1)


def test_mixer_is_splitmix64() -> None:
    # First three outputs of splitmix64 from state 1234567, as published with the xoshiro family.
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        outputs.append(mix64(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(words, st.lists(words, min_size=1, max_size=40))
def test_a_batch_draws_what_single_draws_do(seed: int, counters: list[int]) -> None:
    key = draw_u64(seed, "purpose", 7)
    batch = draws_u64(key, np.array(counters, np.uint64))
    assert [int(word) for word in batch] == [
        draw_u64(seed, "purpose", 7, counter) for counter in counters
    ]


@given(words, words)
def test_normal_and_uniform_agree_with_their_batches(seed: int, counter: int) -> None:
    word = np.array([draw_u64(seed, counter)], np.uint64)
    assert draw_normal(seed, counter) == normals(word)[0]
    assert draw_uniform(seed, counter) == uniforms(word)[0]
    assert 0.0 <= draw_uniform(seed, counter) < 1.0


@given(st.integers(1, 10**9), words)
def test_below_stays_below(limit: int, seed: int) -> None:
    assert 0 <= draw_below(limit, seed) < limit


def test_moments_and_independence() -> None:
    batch = draws_u64(draw_u64(1), np.arange(200_000, dtype=np.uint64))
    flat, bell = uniforms(batch), normals(batch)
    assert abs(flat.mean() - 0.5) < 0.003
    assert abs(bell.mean()) < 0.01
    assert abs(bell.std() - 1.0) < 0.01
    assert abs((bell**4).mean() - 3.0) < 0.1
    assert abs(np.corrcoef(flat, bell)[0, 1]) < 0.01
    assert abs(np.corrcoef(bell[1:], bell[:-1])[0, 1]) < 0.01


def test_names_and_seeds_separate_streams() -> None:
    values = {draw_u64(seed, name, n) for seed in (1, 2) for name in ("a", "b") for n in range(50)}
    assert len(values) == 200
