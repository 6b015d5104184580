"""Channel access of 802.11: its times, and what saturated stations get out of it, in closed form.

Bianchi: Performance analysis of the IEEE 802.11 distributed coordination function, IEEE JSAC 18(3),
2000: every station always has a frame, all hear all, frames are lost by collision alone, and a
collision's chance p is the same at each attempt. Then a station sends in a slot with chance tau,

    tau = 2 / (1 + W + p W (1 + 2p + ... + (2p)^(m-1))),   p = 1 - (1 - tau)^(n-1)

with a window of W = cw_min + 1 slots that doubles m times. Counters of 802.11 stand still during a
busy slot, so after a frame nobody else is at zero, and the slot is the winner's alone: it sends
again at once where it draws zero, with chance 1 / W (Tinnirello, Bianchi, Xiao: Refinements on
IEEE 802.11 distributed coordination function modeling approaches, IEEE Trans. Veh. Technol. 59(3),
2010). `immediate_access` says whether that counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from radio_sim.phy.airtime import ack_ns, frame_ns
from radio_sim.phy.rates import US, Rate

_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Access:
    """Times and windows of the distributed coordination function (802.11-2020, 10.3)."""

    sifs_ns: int
    slot_ns: int
    cw_min: int
    cw_max: int

    def __post_init__(self) -> None:
        if min(self.sifs_ns, self.slot_ns) <= 0:
            raise ValueError("slot_ns: SIFS and slot last some time; give nanoseconds above 0")
        if not 0 <= self.cw_min <= self.cw_max:
            raise ValueError(f"cw_max: {self.cw_max} is below cw_min; use 15 and 1023, or alike")

    @property
    def difs_ns(self) -> int:
        """SIFS and two slots."""
        return self.sifs_ns + 2 * self.slot_ns

    @property
    def doublings(self) -> int:
        """How often the window doubles until it is at its most (m)."""
        return ((self.cw_max + 1) // (self.cw_min + 1)).bit_length() - 1


DSSS_ACCESS = Access(10 * US, 20 * US, 31, 1023)  # table 15-5, long slots
ERP_ACCESS = Access(10 * US, 9 * US, 15, 1023)  # table 18-5, short slots
OFDM_ACCESS = Access(16 * US, 9 * US, 15, 1023)  # table 17-21, 20 MHz
OFDM_10MHZ_ACCESS = Access(32 * US, 13 * US, 15, 1023)
OFDM_5MHZ_ACCESS = Access(64 * US, 21 * US, 15, 1023)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A frame and its answer: what it is worth and how long it takes. No ACK: broadcast."""

    payload_bits: int
    data_ns: int
    ack_ns: int = 0


@dataclass(frozen=True, slots=True)
class Saturation:
    """What n saturated stations come to."""

    send_chance: float  # in a slot: tau
    collision_chance: float  # of an attempt: p
    throughput_bps: float  # of payload, all stations together
    busy_share: float  # of the time


def access_of(rate: Rate, *, is_2ghz: bool = False) -> Access:
    """Return the access times of a rate's PHY; 2.4 GHz with short slots unless DSSS."""
    if rate.family in ("dsss", "cck"):
        return DSSS_ACCESS
    if rate.family == "erp" or is_2ghz:
        return ERP_ACCESS
    narrow = {10: OFDM_10MHZ_ACCESS, 5: OFDM_5MHZ_ACCESS}
    return narrow.get(rate.bandwidth_mhz, OFDM_ACCESS)


def exchange_of(
    rate: Rate, payload_bytes: int, overhead_bytes: int, *, is_2ghz: bool = False
) -> Exchange:
    """Return the exchange of a unicast frame; overhead: MAC header, FCS, LLC."""
    data_ns = frame_ns(rate, payload_bytes + overhead_bytes, is_2ghz=is_2ghz)
    return Exchange(8 * payload_bytes, data_ns, ack_ns(rate, is_2ghz=is_2ghz))


def failure_ifs_ns(access: Access, exchange: Exchange, extended: bool) -> int:
    """Idle time after a collision: DIFS, or EIFS, which leaves room for an ACK (10.3.2.3.7)."""
    if not extended:
        return access.difs_ns
    return access.sifs_ns + exchange.ack_ns + access.difs_ns


def get_send_chance(collision_chance: float, access: Access) -> float:
    """Bianchi's equation 7 in the form that holds at p = 1/2 too."""
    window = access.cw_min + 1
    growth = sum((2.0 * collision_chance) ** stage for stage in range(access.doublings))
    return 2.0 / (1.0 + window + collision_chance * window * growth)


def solve_collision_chance(stations: int, access: Access) -> float:
    """Find p with p = 1 - (1 - tau(p))^(n-1); the right side falls with p, so there is one."""
    if stations < 1:
        raise ValueError(f"stations: {stations} send nothing; use 1 or more")
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        implied = 1.0 - (1.0 - get_send_chance(middle, access)) ** (stations - 1)
        low, high = (middle, high) if implied > middle else (low, middle)
    return (low + high) / 2.0


def compute_saturation(
    stations: int,
    access: Access,
    exchange: Exchange,
    *,
    extended: bool = False,
    immediate_access: bool = True,
) -> Saturation:
    """Saturation throughput of stations that all hear each other.

    `extended`: after a collision all wait EIFS. Throughput is payload per success over the mean
    time of a slot, be it idle, a success or a collision (Bianchi, eq. 13).
    """
    collision = solve_collision_chance(stations, access)
    send = get_send_chance(collision, access)
    busy = 1.0 - (1.0 - send) ** stations
    success = stations * send * (1.0 - send) ** (stations - 1)
    again = 1.0 / (access.cw_min + 1) if immediate_access else 0.0
    answer_ns = access.sifs_ns + exchange.ack_ns if exchange.ack_ns else 0
    frames = 1.0 / (1.0 - again)  # of the winner in a row
    success_ns = frames * (exchange.data_ns + answer_ns + access.difs_ns) + access.slot_ns
    lost_ns = exchange.data_ns + failure_ifs_ns(access, exchange, extended)
    mean_ns = (1.0 - busy) * access.slot_ns + success * success_ns + (busy - success) * lost_ns
    air_ns = success * frames * (exchange.data_ns + exchange.ack_ns)
    air_ns += (busy - success) * exchange.data_ns
    throughput_bps = frames * exchange.payload_bits * success / mean_ns * 1e9
    return Saturation(send, collision, throughput_bps, air_ns / mean_ns)
