"""The map's memory of the ledger: records, verdicts in, observations and news out.

A report of epoch e is held until the ledger has judged e: until then its receptions are news
("pending"), not measurements. A late report is never judged and enters at once, marked late. The
feed never asks for anything: the shell brings what the ledger has and asks `awaiting_verdicts` what
to fetch next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chain import draws
from chain.draws import answer, chain_link, power_step_db, tag_of
from chain.errors import UserError
from chain.params import MIB, NEWEST_RULES, get_params
from chain.records import (
    Activation,
    Bounty,
    EpochMessage,
    Genesis,
    KeyRotation,
    KeyRotationObjection,
    MapperReport,
    Receipt,
    Registration,
    SessionClaim,
    SessionOpen,
    Signed,
)
from coverage_map.links import USABLE, LinkTable
from coverage_map.observations import Observation, Site, mapped_of, observations_of, site_of

LATE = "late"
PENDING = "pending"
UNJUDGED = "unjudged"
TOKENS_PER_PRICE = 1_000
HOUR_EPOCHS = 6  # an hour of mainnet: people's reports are shown no finer in time


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted record as the ledger lists it: sequence, epoch of its block, index, reason."""

    sequence: int
    signed: Signed
    epoch: int
    index: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class News:
    """Something that just became known, for people who watch."""

    kind: str
    data: dict[str, Any]


@dataclass(slots=True)
class Session:
    """A paid session and what was paid in it."""

    terms: SessionOpen
    paid_ucr: int = 0
    ai_tokens: int = 0
    ai_requests: int = 0
    relayed_bytes: int = 0


@dataclass(slots=True)
class Waiting:
    """A report that awaits its verdicts."""

    ledger_sequence: int
    message: EpochMessage
    observations_pending: int = 0


@dataclass(slots=True)
class Totals:
    """What the map has counted on its own, from the records alone."""

    records: int = 0
    receptions: int = 0
    late_reports: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)


class Feed:
    """Folds the ledger into sites and links; one instance per network."""

    def __init__(self, genesis: Genesis, network_id: bytes) -> None:
        self.genesis = genesis
        self.network_id = network_id
        self.rules = genesis.rules
        self.params = get_params(genesis.preset, genesis.rules)
        self.activations: dict[int, int] = {}  # rules by the epoch from which they bind
        self.rotations: dict[int, tuple[int, bytes]] = {}  # pending: from which epoch, next key
        self.sites: dict[int, Site] = {}
        self.links = LinkTable()
        self.sessions: dict[int, Session] = {}
        self.totals = Totals()
        self.changed_sites = False
        self.next_sequence = 0
        self.judged = -1
        self.mappers: dict[bytes, int] = {}
        self.bounties: dict[int, tuple[int, int]] = {}  # first amount and epoch, by number
        self._secrets: dict[int, tuple[int, bytes]] = {}
        self._older: dict[tuple[int, int], bytes] = {}
        self._mixes = [draws.genesis_mix(network_id)]
        self._reveals: dict[int, dict[int, bytes]] = {}
        self._reports: dict[int, dict[int, Waiting]] = {}
        self._late: list[tuple[int, EpochMessage]] = []
        self._mapped: list[tuple[int, MapperReport]] = []
        self._usable: list[Observation] = []

    def epoch_end_ms(self, epoch: int) -> int:
        """When an epoch ends, in ms since 1970."""
        return self.genesis.start_ms + (epoch + 1) * self.params.epoch_ms

    def receive(self, entry: Entry) -> list[News]:
        """Take the next record of the log; records must come in their order."""
        self.next_sequence = entry.sequence + 1
        self.totals.records += 1
        self._bind(entry.epoch)
        record = entry.signed.record
        if isinstance(record, Registration) and entry.index is not None:
            return self._register(entry.index, record)
        if isinstance(record, Activation):
            self.activations[record.from_epoch] = record.rules
        if isinstance(record, KeyRotation):
            self.rotations[record.hotspot] = (record.from_epoch, record.new_key)
        if isinstance(record, KeyRotationObjection):
            self.rotations.pop(record.hotspot, None)
        if isinstance(record, EpochMessage):
            return self._hear(entry, record)
        if isinstance(record, MapperReport):
            self._mapped.append((entry.sequence, record))
            self.mappers.setdefault(record.key, len(self.mappers))
        if isinstance(record, Bounty) and entry.index is not None:
            return self._offer(entry, entry.index, record)
        if isinstance(record, SessionOpen) and entry.index is not None:
            self.sessions[entry.index] = Session(record)
        if isinstance(record, SessionClaim):
            return [news for receipt in record.receipts for news in self._pay(receipt)]
        return []

    def awaiting_verdicts(self, open_epoch: int) -> list[int]:
        """Epochs that the ledger has judged by now but whose verdicts the map hasn't seen."""
        return [e for e in sorted(self._reports) if e <= open_epoch - 2]

    def mix(self, epoch: int) -> bytes | None:
        """R_epoch as the records themselves give it, once verdicts on the epoch have come."""
        return self._mixes[epoch] if epoch < len(self._mixes) else None

    def receive_verdicts(
        self, epoch: int, reasons: Mapping[tuple[int, int, int], str]
    ) -> list[Observation]:
        """Verdicts on an epoch's receptions, by (witness, beaconer, number): they may count now."""
        found: list[Observation] = []
        self._extend_mixes(epoch)
        self.judged = max(self.judged, epoch)
        for _, report in sorted(self._reports.pop(epoch, {}).items()):
            found += self._observe(report.ledger_sequence, report.message, reasons, UNJUDGED)
        found += self._flush_late()
        self.totals.verdicts.update(x.reason for x in found)
        self.links.add(found)
        people = self._flush_mapped()
        self._usable += [
            x for x in (*found, *people) if x.standing in USABLE and x.rssi_cdbm is not None
        ]
        return found

    def held(self) -> dict[str, Any]:
        """What waits for later epochs, by name: with the public parts, all that a feed is."""
        return {
            "secrets": self._secrets,
            "mixes": self._mixes,
            "reveals": self._reveals,
            "reports": self._reports,
            "late": self._late,
            "mapped": self._mapped,
            "mappers": self.mappers,
            "activations": self.activations,
            "rotations": self.rotations,
            "bounties": self.bounties,
        }

    def hold(self, held: Mapping[str, Any]) -> None:
        """Take over what another feed held."""
        self._secrets, self._mixes = dict(held["secrets"]), list(held["mixes"])
        self._reveals, self._reports = dict(held["reveals"]), dict(held["reports"])
        self._late, self._mapped = list(held["late"]), list(held["mapped"])
        self.mappers, self.bounties = dict(held["mappers"]), dict(held["bounties"])
        self.activations, self.rotations = dict(held["activations"]), dict(held["rotations"])

    def take_usable(self) -> list[Observation]:
        """What measures the map and came since this was last asked for."""
        found, self._usable = self._usable, []
        return found

    def pending(self) -> Counter[int]:
        """Receptions per cell of the witness that no verdict has reached yet."""
        waiting: Counter[int] = Counter()
        for reports in self._reports.values():
            for witness, report in reports.items():
                if witness in self.sites:
                    waiting[self.sites[witness].cell] += report.observations_pending
        return waiting

    def go_by(self, rules: int) -> None:
        """Take the constants of a set of rules. UserError for one that is too new."""
        if rules > NEWEST_RULES:
            remedy = "update this map"
            raise UserError("rules", f"the network goes by set {rules} now", remedy)
        self.rules, self.params = rules, get_params(self.genesis.preset, rules)

    def _bind(self, epoch: int) -> None:
        """Go by the rules and the keys of an epoch. UserError for rules that are too new."""
        for start in [start for start in self.activations if start <= epoch]:
            self.go_by(self.activations.pop(start))
        for index, (start, key) in list(self.rotations.items()):
            if start <= epoch:
                del self.rotations[index]
                if index in self.sites:
                    self.sites[index] = replace(self.sites[index], key=key)
                    self.changed_sites = True

    def _register(self, index: int, assertion: Registration) -> list[News]:
        site = site_of(index, assertion)
        known = index in self.sites
        self.sites[index] = site
        self.changed_sites = True
        if known:
            self.links.move(site)
        return [News("hotspot", {"hotspot": index, "cell": f"{site.cell:x}", "moved": known})]

    def _offer(self, entry: Entry, number: int, bounty: Bounty) -> list[News]:
        self.bounties[number] = (bounty.amount_ucr, entry.epoch)
        about = {
            "bounty": number,
            "cells": [f"{cell:x}" for cell in bounty.cells],
            "amount_ucr": bounty.amount_ucr,
            "until_epoch": bounty.until_epoch,
        }
        return [News("bounty", about)]

    def _hear(self, entry: Entry, message: EpochMessage) -> list[News]:
        self._learn_secret(message)
        heard = len(message.report) // 14
        self.totals.receptions += heard
        if entry.reason == LATE or message.epoch < entry.epoch:
            self.totals.late_reports += 1
            self._late.append((entry.sequence, message))
            return self._report_news(entry, message)
        self._reveals.setdefault(message.epoch, {})[message.hotspot] = message.reveal
        if heard:
            report = Waiting(entry.sequence, message, heard)
            self._reports.setdefault(message.epoch - 1, {})[message.hotspot] = report
        return self._report_news(entry, message)

    def _report_news(self, entry: Entry, message: EpochMessage) -> list[News]:
        site = self.sites.get(message.hotspot)
        return [
            News(
                "report",
                {
                    "hotspot": message.hotspot,
                    "epoch": message.epoch,
                    "heard": sorted(_heard(message)),
                    "cell": f"{site.cell:x}" if site else None,
                    "record": entry.signed.record_id.hex(),
                },
            )
        ]

    def _extend_mixes(self, epoch: int) -> None:
        """Compute R up to an epoch that is closed: what will come later can't change it."""
        while len(self._mixes) <= epoch:
            revealed = self._reveals.pop(len(self._mixes) - 1, {})
            secrets = [revealed[index] for index in sorted(revealed)]
            self._mixes.append(draws.mix(self._mixes[-1], len(self._mixes), secrets))

    def _learn_secret(self, message: EpochMessage) -> None:
        newest = self._secrets.get(message.hotspot, (-1, b""))
        if message.epoch - 1 > newest[0]:
            self._secrets[message.hotspot] = (message.epoch - 1, message.reveal)

    def _secret(self, hotspot: int, epoch: int) -> bytes | None:
        """x_epoch: links of the chain lead backwards, so the newest one yields all before it."""
        newest, link = self._secrets.get(hotspot, (-1, b""))
        if epoch > newest or newest - epoch > self.params.chain_gap_max:
            return None
        if newest - epoch <= 2:
            for _ in range(newest - epoch):
                link = chain_link(link)
            return link
        if (hotspot, epoch) not in self._older:
            for _ in range(newest - epoch):
                link = chain_link(link)
            self._older[hotspot, epoch] = link
        return self._older[hotspot, epoch]

    def _beaconed(self, hotspot: int, epoch: int, sequence: int) -> tuple[bytes, int] | None:
        """Tag and power step of a beacon, once its secret and the epoch's mix are known."""
        site, secret = self.sites.get(hotspot), self._secret(hotspot, epoch)
        mix = self.mix(epoch)
        if site is None or secret is None or mix is None:
            return None
        step_db = power_step_db(secret, mix, sequence) if site.sets_power else 0
        return tag_of(answer(secret, epoch, sequence)), step_db

    def _observe(
        self,
        ledger_sequence: int,
        message: EpochMessage,
        reasons: Mapping[tuple[int, int, int], str],
        default: str,
    ) -> list[Observation]:
        site = self.sites.get(message.hotspot)
        if site is None:
            return []
        time_ms = self.epoch_end_ms(message.epoch - 1)
        return observations_of(
            message, ledger_sequence, site, time_ms, reasons, default, self._beaconed
        )

    def _flush_late(self) -> list[Observation]:
        """Observe the late reports whose epoch's secrets are all known by now."""
        ripe = [x for x in self._late if self.mix(x[1].epoch - 1) is not None]
        self._late = [x for x in self._late if self.mix(x[1].epoch - 1) is None]
        found = [x for sequence, late in ripe for x in self._observe(sequence, late, {}, LATE)]
        self._older.clear()
        return found

    def _flush_mapped(self) -> list[Observation]:
        """Observe mappers' reports whose hour's secrets are all known by now.

        Hours enter as a whole: cells that change on the map one after the other would show a way.
        """
        ripe = [x for x in self._mapped if self._hour_is_over(x[1].epoch)]
        self._mapped = [x for x in self._mapped if not self._hour_is_over(x[1].epoch)]
        found = []
        for sequence, report in ripe:
            place = (self.mappers[report.key], self.epoch_end_ms(report.epoch))
            found += mapped_of(report, sequence, *place, self.sites, self._beaconed)
        self._older.clear()
        return found

    def _hour_is_over(self, epoch: int) -> bool:
        return self.mix(epoch // HOUR_EPOCHS * HOUR_EPOCHS + HOUR_EPOCHS - 1) is not None

    def _pay(self, receipt: Receipt) -> list[News]:
        session = self.sessions.get(receipt.session)
        if session is None:
            return []
        terms = session.terms
        ai_ucr = receipt.ai_tokens * terms.ai_price_ucr // TOKENS_PER_PRICE
        owed_ucr = ai_ucr + receipt.relayed_bytes * terms.relay_price_ucr // MIB
        paid_ucr = min(owed_ucr, terms.cap_ucr) - session.paid_ucr
        if paid_ucr <= 0:
            return []
        news = News(
            "payment",
            {
                "payer": terms.payer,
                "payee": terms.payee,
                "for": "ai" if receipt.ai_tokens > session.ai_tokens else "relay",
                "amount_ucr": paid_ucr,
                "ai_requests": receipt.ai_requests - session.ai_requests,
                "ai_tokens": receipt.ai_tokens - session.ai_tokens,
                "relayed_bytes": receipt.relayed_bytes - session.relayed_bytes,
            },
        )
        session.paid_ucr += paid_ucr
        session.ai_tokens, session.ai_requests = receipt.ai_tokens, receipt.ai_requests
        session.relayed_bytes = receipt.relayed_bytes
        return [news]


def _heard(message: EpochMessage) -> set[int]:
    report = message.report
    return {int.from_bytes(report[i : i + 4]) for i in range(0, len(report), 14)}
