"""An attack through the real ledger: records, commits, reveals, verdicts, trust and settlements.

Every hotspot of a world is registered, sends its one message per epoch as bytes, and is judged and
paid by the rules of preset mainnet, with a settlement every `SETTLEMENT_EPOCHS`. Clients of honest
hotspots burn credits, so that cells have something to pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from chain import draws
from chain.economics.drawn import process_drawn_traffic
from chain.ledger import Ledger, Sealed
from chain.params import CREDIT_UCR, PRESETS
from chain.records import Deposit, EpochMessage, Genesis, Record, Registration
from chain.rules.outcome import Effects
from chain.rules.payments import Payment
from chain.rules.trust import compute_trust_ppm
from chain.rules.verdicts import Judgement
from chain.state import State
from coverage_map.audit.table import NO_RSSI_CDBM, Hearings, make_hearings
from radio_sim.attacks.air import FREQUENCY_MHZ, Air, Rows
from radio_sim.attacks.run import BEACONS, World, get_seeds, hear_epoch
from radio_sim.attacks.signing import Signer

Ints = NDArray[np.int64]
Tell = Callable[[int], None]

START_MS = 1_000_000_000
FIRST_EPOCH = 2  # registrations of epoch 0 bind then
# A day is too long for 200 epochs; ten settlements show how trust and pay settle.
SETTLEMENT_EPOCHS = 20
# As many settlements as mainnet's three days and two weeks.
HOLD_APPEAL_EPOCHS = PRESETS["mainnet"].hold_appeal_epochs * SETTLEMENT_EPOCHS // 144
HOLD_EPOCHS_MAX = PRESETS["mainnet"].hold_epochs_max * SETTLEMENT_EPOCHS // 144
# Of the bootstrap of 700,000 covered cells a hotspot's cell gets a share, and a settlement a part
# of the day; clients burn two credits a day (chain/economics/returns.py, "sparse").
BOOTSTRAP_PER_HOTSPOT_UCR = 100_000 * CREDIT_UCR // 700_000 * SETTLEMENT_EPOCHS // 144
TRAFFIC_UCR = 2 * CREDIT_UCR * SETTLEMENT_EPOCHS // 144
RECEPTION = np.dtype(
    [
        ("heard", ">u4"), ("sequence", "u1"), ("flags", "u1"),
        ("rssi", ">i2"), ("frequency", ">u2"), ("tag", "V4"),
    ]
)
UNKNOWN_TAG = b"\xff\xfe\xfd\xfc"


@dataclass(eq=False)
class Town:
    """A world and its ledger. `payments`, `hearings`: everything so far, in order."""

    world: World
    signer: Signer = field(default_factory=Signer)
    on_judgement: Callable[[Judgement], None] = lambda _: None
    payments: list[Payment] = field(default_factory=list)
    hearings: list[Hearings] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = len(self.world.sites)
        self.seeds = [self.secret_of(b"hotspot", index) for index in range(self.count)]
        self.owners = [self.secret_of(b"owner", index) for index in range(self.count)]
        self.chains = [self._chain(index) for index in range(self.count)]
        trusted = tuple(self.signer.public(self.seeds[int(i)]) for i in get_seeds(self.world))
        operator = self.signer.public(self.secret_of(b"operator", 0))
        genesis = Genesis("laboratory", "mainnet", START_MS, (operator,), 1, trusted)
        self.ledger = Ledger(self.signer.seal(genesis, b"", []), self.signer.verify, self._note)
        self.ledger.packs_rows = False
        self.ledger.state.params = replace(
            PRESETS["mainnet"],
            settlement_epochs=SETTLEMENT_EPOCHS,
            hold_appeal_epochs=HOLD_APPEAL_EPOCHS,
            hold_epochs_max=HOLD_EPOCHS_MAX,
            bootstrap_ucr=BOOTSTRAP_PER_HOTSPOT_UCR * self.count,
        )
        self.air = Air(self.world.placement, BEACONS)
        self.reports: dict[int, list[bytes]] = {}
        self._nearest = get_nearest_honest(self.world)

    @property
    def state(self) -> State:
        """The ledger's state."""
        return self.ledger.state

    def secret_of(self, kind: bytes, index: int) -> bytes:
        """The key of somebody of a kind."""
        name = b"%s %d %d" % (kind, self.world.sites.seed, index)
        return sha256(name).digest()

    def _chain(self, index: int) -> list[bytes]:
        """Secrets from the anchor x_(FIRST_EPOCH - 1) on."""
        links = [self.secret_of(b"chain", index)]
        for _ in range(self.world.epochs + 4):
            links.append(draws.chain_link(links[-1]))
        return links[::-1]

    def secret(self, index: int, epoch: int) -> bytes:
        """x_epoch of a hotspot."""
        return self.chains[index][epoch - FIRST_EPOCH + 1]

    def time_ms(self, epoch: int, offset_ms: int = 0) -> int:
        """When an epoch begins, and later."""
        return START_MS + epoch * self.ledger.params.epoch_ms + offset_ms

    def _note(self, sealed: Sealed) -> None:
        self.payments += list(sealed.effects.payments)
        for judgement in sealed.effects.verdicts:
            self.hearings.append(get_hearings(judgement))
            self.on_judgement(judgement)

    def join(self) -> None:
        """Credits and registrations for everybody, in epoch 0; RuntimeError if one is refused."""
        records: list[tuple[Record, list[bytes]]] = []
        operator = self.secret_of(b"operator", 0)
        for index in range(self.count):
            owner = self.signer.public(self.owners[index])
            deposit = Deposit(owner, 2 * self.ledger.params.bond_ucr, b"first %d" % index, (0,))
            records.append((deposit, [operator]))
            registration = self.make_registration(index)
            records.append((registration, [self.seeds[index], self.owners[index]]))
        self.submit(records, START_MS)

    def submit(self, records: Sequence[tuple[Record, list[bytes]]], now_ms: int) -> None:
        """Records with who signs them; RuntimeError if one is refused."""
        network_id = self.ledger.network_id
        wires = [self.signer.seal(record, network_id, seeds).wire for record, seeds in records]
        refused = [r for r in self.ledger.submit(wires, now_ms) if not r.accepted] if wires else []
        if refused:
            raise RuntimeError(f"the laboratory's own record was refused: {refused[0].detail}")

    def make_registration(self, index: int) -> Registration:
        """What a hotspot asserts, true or not."""
        placement, sites = self.world.placement, self.world.sites
        cell, latitude, longitude = self.world.cells[index]
        return Registration(
            key=self.signer.public(self.seeds[index]),
            owner=self.signer.public(self.owners[index]),
            cell=cell,
            latitude_udeg=latitude,
            longitude_udeg=longitude,
            height_m=round(float(placement.claimed_height_m[index])),
            gain_cdb=round(100 * float(placement.claimed_gain_db[index])),
            eirp_cdbm=round(100 * float(sites.eirp_dbm[index])),
            frequency_mhz=FREQUENCY_MHZ,
            flags=int(sites.sets_power[index]),
            first_epoch=FIRST_EPOCH,
            chain_length=len(self.chains[index]) - 1,
            anchor=self.chains[index][0],
        )

    def run(self, tell: Tell = lambda _: None) -> None:
        """Everything, from the registrations on."""
        self.join()
        for number in range(self.world.epochs):
            self.run_epoch(number)
            tell(number + 1)
        self.finish()

    def finish(self) -> None:
        """Close the last epoch: what came before it is judged, and paid if a settlement is due."""
        self.ledger.tick(self.time_ms(FIRST_EPOCH + self.world.epochs))

    def run_epoch(self, number: int) -> None:
        """The number-th epoch: beacons, receptions, and everybody's message at its end."""
        epoch = FIRST_EPOCH + number
        self.ledger.tick(self.time_ms(epoch))
        if epoch % SETTLEMENT_EPOCHS == SETTLEMENT_EPOCHS // 2:
            self.process_traffic(self.state)
        steps, tags = self.draw_beacons(epoch)
        rows = hear_epoch(self.world, self.air, number, steps)
        known = get_known_tags(self.world, rows, self.count)
        self.reports[epoch] = pack_reports(rows, tags, known, self.count)
        self.reports.pop(epoch - 4, None)
        present = np.flatnonzero(self.world.sites.present[:, number])
        wires = [self.make_message(int(index), epoch) for index in present]
        late_ms = self.ledger.params.epoch_ms - 1_000
        refused = [r for r in self.ledger.submit(wires, self.time_ms(epoch, late_ms))
                   if not r.accepted]
        if refused:
            raise RuntimeError(f"a message was refused: {refused[0].reason}: {refused[0].detail}")

    def draw_beacons(self, epoch: int) -> tuple[Ints, NDArray[np.void]]:
        """Power steps in centi-dB and tags of all beacons of an epoch, [hotspots, beacons]."""
        mix = self.state.mixes[epoch]
        steps = np.zeros((self.count, BEACONS), np.int64)
        tags = np.zeros((self.count, BEACONS), "V4")
        for index in range(self.count):
            secret = self.secret(index, epoch)
            for number in range(BEACONS):
                tag = draws.tag_of(draws.answer(secret, epoch, number))
                tags[index, number] = np.void(tag)
                if self.world.sites.sets_power[index]:
                    steps[index, number] = 100 * draws.power_step_db(secret, mix, number)
        return steps, tags

    def make_message(self, index: int, epoch: int) -> bytes:
        """A hotspot's signed message, as bytes."""
        secret = self.secret(index, epoch)
        report = self.reports[epoch][index]
        before = self.reports.get(epoch - 1)
        message = EpochMessage(
            index,
            epoch,
            draws.commit(index, epoch, secret, report),
            before[index] if before is not None else b"",
            self.secret(index, epoch - 1),
        )
        network_id = self.ledger.network_id
        return self.signer.seal(message, network_id, [self.seeds[index]]).wire

    def process_traffic(self, state: State) -> None:
        """Clients of every honest hotspot pay for what its nearest honest neighbour relays."""
        for payer, payee in self._nearest:
            process_drawn_traffic(state, payer, payee, TRAFFIC_UCR, Effects())

    def trust_ppm(self) -> Ints:
        """Everybody's trust against the mean."""
        return np.array(compute_trust_ppm(self.state), np.int64)


def get_nearest_honest(world: World) -> list[tuple[int, int]]:
    """Every honest hotspot with the honest one nearest to it."""
    honest = np.flatnonzero(~world.placement.attackers)
    _, near = cKDTree(world.sites.positions_m[honest]).query(world.sites.positions_m[honest], k=2)
    return [(int(h), int(honest[n])) for h, n in zip(honest, np.asarray(near)[:, 1], strict=True)]


def get_known_tags(world: World, rows: Rows, count: int) -> NDArray[np.bool_]:
    """Whose tags the plot can know: its own, and what a receiver of its own really heard."""
    plot = world.placement.attackers
    known = np.zeros((count, BEACONS), np.bool_)
    known[plot] = True
    heard = plot[rows.witness] & ~rows.forged
    known[rows.beaconer[heard], rows.sequence[heard]] = True
    if rows.forged.any():  # forgers drop what they heard: their accomplices' rows say it too
        known[rows.beaconer[rows.forged], rows.sequence[rows.forged]] = True
    return known


def pack_reports(
    rows: Rows, tags: NDArray[np.void], known: NDArray[np.bool_], count: int
) -> list[bytes]:
    """Every witness's report, 14 bytes per reception, from rows sorted by witness and beacon."""
    packed = np.zeros(len(rows), RECEPTION)
    silent = rows.rssi_cdbm == NO_RSSI_CDBM
    packed["heard"], packed["sequence"], packed["flags"] = rows.beaconer, rows.sequence, silent
    packed["rssi"] = np.where(silent, 0, rows.rssi_cdbm)
    packed["frequency"] = FREQUENCY_MHZ
    packed["tag"] = tags[rows.beaconer, rows.sequence]
    packed["tag"][~known[rows.beaconer, rows.sequence] & rows.forged] = np.void(UNKNOWN_TAG)
    ends = np.searchsorted(rows.witness, np.arange(count + 1))
    return [packed[a:b].tobytes() for a, b in pairwise(ends)]


def get_hearings(judgement: Judgement) -> Hearings:
    """An epoch's receptions with their verdicts, as auditors read them from the ledger."""
    witnesses = [w for w in judgement.reports if judgement.codes[w]]
    reports = [np.frombuffer(judgement.reports[w].report, RECEPTION) for w in witnesses]
    rows = np.concatenate(reports) if reports else np.zeros(0, RECEPTION)
    codes = b"".join(bytes(judgement.codes[w]) for w in witnesses)
    steps = np.zeros((max([*judgement.assertions, 0]) + 1, 256), np.int64)
    for index, beaconer in judgement.beaconers.items():
        steps[index, : len(beaconer.steps_cdb)] = beaconer.steps_cdb
    heard = rows["heard"].astype(np.int64)
    silent = rows["flags"] & 1 > 0
    return make_hearings(
        epoch=np.full(len(rows), judgement.epoch),
        witness=np.repeat(witnesses, [len(report) for report in reports]).astype(np.int64),
        beaconer=heard,
        sequence=rows["sequence"],
        step_cdb=steps[heard, rows["sequence"]],
        rssi_cdbm=np.where(silent, NO_RSSI_CDBM, rows["rssi"].astype(np.int64)),
        frequency_mhz=rows["frequency"],
        code=np.frombuffer(codes, np.uint8),
    )
