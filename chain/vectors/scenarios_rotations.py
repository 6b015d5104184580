"""Runs in which hotspots take other keys, with the old one's word and without it."""

from __future__ import annotations

from chain.records import Finding, KeyRotationObjection, Signed
from chain.vectors.runs import make_runs
from chain.vectors.scenarios import resign
from chain.vectors.town import CHAIN_LENGTH, FIRST_EPOCH, Town

MIB = 1 << 20


def objection(town: Town, number: int, rotation: bytes, signer: int) -> Signed:
    """A hotspot's word against what its owner asked for."""
    return town.seal(KeyRotationObjection(number, rotation), ("hotspot", signer))


def refused(town: Town) -> None:
    """Rotations that can't be, by name."""
    town.join()
    town.run(2, 3)
    first, params = town.epoch + 2, town.ledger.params
    town.submit(town.rotation(9, first))  # unknown_hotspot
    town.submit(town.rotation(1, first - 1))  # wrong_epoch: too soon
    town.submit(town.rotation(1, first + params.rotation_delay_epochs + 1))  # wrong_epoch
    town.submit(town.rotation(1, first, lost=True))  # wrong_epoch: the old key may object first
    town.submit(town.rotation(1, first, new_key=town.key("hotspot", 2)))  # key_taken
    town.submit(town.rotation(1, first, new_key=town.key("hotspot", 1)))  # duplicate
    good = town.rotation(1, first)
    town.submit(resign(good, *good.signatures[::-1]))  # bad_signature
    town.submit(resign(good, good.signatures[0]))  # bad_signature
    town.submit(town.registration(1, height_m=11))
    town.submit(good)  # not_bound_yet
    fork = [town.message(3, 3, commit=bytes([n]) * 32).wire for n in range(2)]
    proof = Finding(1, 3, 3, (fork[0], fork[1]), town.owner(2))
    town.submit(town.seal(proof, ("owner", 2)))
    town.submit(town.rotation(3, first))  # slashed


def planned(town: Town) -> None:
    """Both keys sign: trust, place and name stay, receipts of before hold for a while."""
    town.join()
    town.run(2, 3)
    town.submit(town.opening(1, 2))
    first = town.epoch + 2
    rotation = town.rotation(1, first)
    town.submit(rotation)
    town.submit(rotation)  # already
    town.submit(town.rotation(1, first + 1))  # rotating
    town.submit(town.registration(1, height_m=11))  # rotating
    town.submit(town.rotation(2, first, new_key=town.key("next", 1)))  # key_taken
    town.submit(objection(town, 1, rotation.record_id, 1))  # not_owed
    town.run(town.epoch, first - 1)
    town.next_from[1] = first
    town.run(first, first + 1)
    old = town.message(1, town.epoch)
    forged = town.seal(old.record, ("hotspot", 1))
    town.submit(forged)  # bad_signature: the old key has no say any more
    town.submit(town.registration(1, height_m=12))  # rotated
    again = town.rotation(1, town.epoch + 2, new_key=town.key("third", 1))
    town.submit(again)  # too_early
    town.submit(town.receipts(town.receipt(1, 2, 0, 1, MIB)))  # signed by the key of before
    over = first + town.ledger.params.rotation_grace_epochs
    settle_until(town, over)
    town.submit(town.receipts(town.receipt(1, 2, 0, 2, 2 * MIB)))  # bad_signature, or expired
    town.submit(town.rotation(1, town.epoch + 2, new_key=town.key("hotspot", 1)))  # duplicate


def washed(town: Town) -> None:
    """What the old key did is still proven of it, and costs the hotspot its bond."""
    town.join()
    town.run(2, 3)
    first = town.epoch + 2
    town.submit(town.rotation(1, first))
    town.run(town.epoch, first - 1)
    town.next_from[1] = first
    town.run(first, first + 1)
    late = [town.message(1, first - 1, commit=bytes([n]) * 32).wire for n in range(2)]
    fresh = [town.seal(town.message(1, first).record, (role, 1)) for role in ("hotspot", "next")]
    mixed = Finding(1, 1, first, (fresh[0].wire, fresh[1].wire), town.owner(2))
    town.submit(town.seal(mixed, ("owner", 2)))  # unsigned_evidence: the old key has no such epoch
    proof = Finding(1, 1, first - 1, (late[0], late[1]), town.owner(2))
    town.submit(town.seal(proof, ("owner", 2)))
    town.submit(town.rotation(1, town.epoch + 2))  # slashed


def lost(town: Town) -> None:
    """The owner alone names the next key: the old one may object, or nobody does."""
    town.join()
    town.run(2, 3)
    delay = town.ledger.params.rotation_delay_epochs
    asked = town.rotation(1, town.epoch + delay, lost=True)
    town.submit(asked)
    town.submit(objection(town, 1, bytes(32), 1))  # unknown_rotation
    town.submit(objection(town, 2, asked.record_id, 2))  # unknown_rotation
    town.submit(objection(town, 1, asked.record_id, 2))  # bad_signature
    against = objection(town, 1, asked.record_id, 1)
    town.submit(against)
    town.submit(against)  # already
    town.submit(town.registration(1, height_m=11))  # may assert again
    town.run(town.epoch, town.epoch + 2)
    first = town.epoch + delay
    town.submit(town.rotation(1, first, lost=True))
    retired = town.rotation(2, first, lost=True)
    town.submit(retired)
    fork = [town.message(2, 3, commit=bytes([n]) * 32).wire for n in range(2)]
    proof = Finding(1, 2, 3, (fork[0], fork[1]), town.owner(3))
    town.submit(town.seal(proof, ("owner", 3)))  # the rotation of who is slashed lapses
    town.go_to(first + 1)  # what x_(first - 1) was nobody knows any more
    town.next_from[1] = first
    town.submit(town.message(1, first + 1))
    town.go_to(first + 2)


def settle_until(town: Town, epoch: int) -> None:
    """Let time pass until an epoch; of many epochs a few are played."""
    if epoch < FIRST_EPOCH + CHAIN_LENGTH and epoch - town.epoch < 20:
        town.run(town.epoch, epoch - 1)
    town.go_to(epoch)


def unknown(town: Town) -> None:
    """By the first rules a key is for good."""
    town.join()
    town.run(2, 3)
    town.submit(town.rotation(1, town.epoch + 2))  # not_active
    town.go_to(town.epoch + 1)


BOTH = ("minimal", "mainnet")
ROTATIONS = make_runs(
    "rotations",
    "Ledgers on which hotspots take other keys, planned or because one is lost.",
    [
        *((preset, run) for preset in BOTH for run in (refused, planned, washed, lost)),
        ("minimal:1", unknown),
    ],
)
