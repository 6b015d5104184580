"""The arrays that the compiled medium works on; what their columns mean stands in `kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.int8]
Words = NDArray[np.uint64]


class Air(NamedTuple):
    """All state of a medium; see the head of this file."""

    node: Ints
    factor: Floats  # of a sender's frame on the air: its power as a ratio to step 0
    starts: Ints
    neighbours: Ints
    gain: Floats  # per link, zeptowatt at step 0
    arriving: Ints  # per link, zeptowatt of the frame on the air
    fate: Bytes  # per link
    sinr: Floats  # per link, dB, of the last frame; written only when it is asked for
    offset: Floats  # per radio, dB of its signal figure
    rows: Ints
    least: Floats  # per row: least ratio of signal to noise and interference to lock on
    wider: Floats  # per row: its noise bandwidth as a ratio to 20 MHz
    cost: Ints  # [row, rung]
    reject: Floats  # [tuning of a frame, tuning of a receiver]: share of its power that enters
    decodes: NDArray[np.bool_]  # the same: can the receiver make sense of it
    fade: Floats  # linear fading by quantile, empty without fading
    quantiles: Floats
    steps: Floats
    parameters: Ints
    ratios: Floats
    keys: Words  # of receptions, of backoffs, of fading
    counts: Ints  # [fate]


class Load(NamedTuple):
    """What a batch has to send, and where it stands: `run` can be called again to go on.

    Frames are queued by sender: order[first[s]:first[s+1]], head[s] the next. `target` -1 is a
    broadcast. Events lie in a tournament of three places a radio: end of its frame, begin of an
    acknowledgement, next attempt; equal times go in that order, then by radio.
    """

    at: Ints
    row: Ints
    tuning: Ints
    factor: Floats
    target: Ints
    first: Ints
    order: Ints
    head: Ints
    again: bool  # saturated: every sender repeats its frames for ever
    ack_row: int
    tries: Ints
    acks: Ints  # per radio: whom it acknowledges, -1 nobody
    on_air: Ints  # per radio: its frame on the air, -1 for an acknowledgement
    time: Ints
    winner: Ints
    totals: Ints
    record: Ints  # [capacity, 3]: frame, receiver, level in dBm
