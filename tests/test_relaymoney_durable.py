"""Open claims survive: a ledger taken up from its database goes on as if nothing had happened."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import ROOT

from chain import bits
from chain.io_audit import audit
from chain.ledger import Sealed
from chain.state_root import compute_state_root
from chain.store.io_restore import load_ledger
from chain.store.io_store import Store

from .relaymoney_helpers import RelayTown, only


def test_a_restart_between_claim_draw_openings_and_pay_changes_nothing(tmp_path: Path) -> None:
    blocks: list[Sealed] = []
    town = RelayTown(4, on_block=blocks.append)
    store = Store.create(str(tmp_path / "ledger.db"))

    def restart() -> None:
        store.append(blocks)
        blocks.clear()
        before = compute_state_root(town.state)
        town.ledger = load_ledger(store)
        town.ledger.on_block = blocks.append
        assert compute_state_root(town.state) == before

    indexes = town.begin(40, 10_000_000, cap_ucr=600_000)
    book = town.book(*(town.both_sign(index) for index in indexes))
    restart()
    claim = only(town.submit(town.claimed(book))).index
    assert claim is not None
    restart()
    town.next_epoch(2)
    restart()
    drawn = bits.members(town.state.claims[claim].drawn)
    undrawn = next(at for at in range(40) if at not in drawn)
    town.submit(town.dispute(claim, undrawn, town.payer_of(indexes[undrawn])))
    restart()
    shown = town.opening(*book.open(claim, [*drawn, undrawn]))
    assert all(result.accepted for result in town.submit(*shown))
    restart()
    town.next_epoch(town.params.opening_epochs)
    assert all(town.state.sessions[index].claimed_ucr == 250_000 for index in indexes)
    restart()
    store.close()


def test_the_audit_derives_claims_again(tmp_path: Path) -> None:
    """From the records alone: claims that are paid, that are void, and one that is open."""
    blocks: list[Sealed] = []
    town = RelayTown(4, on_block=blocks.append)
    indexes = town.begin(6)
    paid = town.book(*(town.both_sign(index) for index in indexes[:3]))
    claim = only(town.submit(town.claimed(paid))).index
    town.submit(*town.opening(*paid.open(claim, range(3))))  # type: ignore[arg-type]
    town.next_epoch()
    town.ledger.tick(town.time_ms(town.state.epoch + 4))  # the ledger stood still
    later = town.book(*(town.both_sign(index) for index in indexes[3:]))
    assert only(town.submit(town.claimed(later))).accepted
    town.next_epoch(town.params.opening_epochs + 1)
    assert town.state.stats["claims_paid"] == town.state.stats["claims_void"] == 1
    path = tmp_path / "ledger.db"
    store = Store.create(str(path))
    store.append(blocks)
    store.close()
    found = audit(path)
    assert found.ok, found


def test_every_reason_of_relay_claims_is_explained() -> None:
    """The table of docs/rewards.md names the reasons that the rules give, and no others."""
    rules = "".join(
        (ROOT / "chain" / "rules" / name).read_text() for name in ("claims.py", "receipts.py")
    )
    given = set(re.findall(r'Refusal\(\s*"(\w+)"', rules)) | {"retired", "slashed"}
    page = (ROOT / "docs" / "rewards.md").read_text()
    chapter = page.split("## Relay claims")[1].split("\n## ")[0]
    rows = "".join(line.split("|")[1] for line in chapter.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == given
