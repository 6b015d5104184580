"""Everything that is derived by hashing: chain links, answers, slots, commits, mixes and draws.

Formulas: docs/records.md, "Derived values". One tag per purpose keeps them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from struct import Struct

from chain.params import Params

_THREE = Struct(">III")

ANSWER_BYTES = 16
TAG_BYTES = 4
POWER_STEPS_DB = (0, 3, 6, 9)
POWER_STEPS_CDB = (0, 300, 600, 900)
# How the texts begin that are hashed in great numbers.
ANSWER_LINE, SLOT_LINE = b"wavecomb:answer:v1\n", b"wavecomb:slot:v1\n"
DRAW_LINE = b"wavecomb:draw:v1\n"
STEP_BYTE = 8  # of a slot's digest: its last two bits draw the power step
_NUMBERS = tuple(n.to_bytes(4, "big") for n in range(256))  # of beacons, as hashes take them


def u32(number: int) -> bytes:
    """Big-endian, 4 bytes; OverflowError outside u32."""
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    """Big-endian, 8 bytes; OverflowError outside u64."""
    return number.to_bytes(8, "big")


def digest(tag: str, *parts: bytes) -> bytes:
    """H(tag, parts…): SHA-256 over the domain tag's line and the parts."""
    return sha256(b"".join((_tag_line(tag), *parts))).digest()


@lru_cache(maxsize=64)
def _tag_line(tag: str) -> bytes:
    return b"wavecomb:" + tag.encode() + b":v1\n"


def chain_link(link: bytes) -> bytes:
    """x_(e-1) of x_e: the next link towards the anchor."""
    return sha256(b"wavecomb:chain-link:v1\n" + link).digest()


def answer(secret: bytes, epoch: int, sequence: int) -> bytes:
    """The 16 bytes that beacon `sequence` of `epoch` carries; only who knows x_e can make them."""
    return digest("answer", secret, u32(epoch), u32(sequence))[:ANSWER_BYTES]


def tag_of(answer_bytes: bytes) -> bytes:
    """The 4 bytes of an answer that a reception keeps."""
    return answer_bytes[:TAG_BYTES]


def commit(hotspot: int, epoch: int, secret: bytes, report: bytes) -> bytes:
    """Binds a hotspot to its report of `epoch` before that epoch's secrets are out."""
    head = b"wavecomb:commit:v1\n" + hotspot.to_bytes(4, "big") + epoch.to_bytes(4, "big")
    return sha256(head + secret + report).digest()


def all_commits(epoch: int, messages: Iterable[tuple[int, bytes, bytes]]) -> list[bytes]:
    """`commit` of many (hotspot, secret, report) of one epoch."""
    line, of_epoch = b"wavecomb:commit:v1\n", u32(epoch)
    return [
        sha256(b"".join((line, hotspot.to_bytes(4, "big"), of_epoch, secret, report))).digest()
        for hotspot, secret, report in messages
    ]


def mapper_commit(key: bytes, epoch: int, salt: bytes, cell: int, report: bytes) -> bytes:
    """Binds a mapper to where it was and what it heard before the secrets of `epoch` are out."""
    return digest("mapper", key, u32(epoch), salt, u64(cell), report)


def genesis_mix(network_id: bytes) -> bytes:
    """R_0."""
    return digest("mix", network_id, u32(0))


def mix(previous: bytes, epoch: int, secrets: Iterable[bytes]) -> bytes:
    """R_epoch from R_(epoch-1) and the x_(epoch-2) revealed in epoch-1, by ascending index."""
    return digest("mix", previous, u32(epoch), *secrets)


def randomness_input(checkpoint: str) -> bytes:
    """What cosigners put into their random function: the text of a checkpoint."""
    return digest("randomness", checkpoint.encode())


def lots(mix_after: bytes, outputs: Iterable[bytes]) -> bytes:
    """L_epoch, which draws lots of an epoch: R_(epoch+2) and the cosigners' outputs over its close.

    Outputs ascend by their cosigners' keys, cut to 32 bytes; without any it is R_(epoch+2) itself.
    """
    given = tuple(outputs)
    return digest("lots", mix_after, *given) if given else mix_after


def _slot(secret: bytes, mix_of_epoch: bytes, sequence: int) -> bytes:
    return digest("slot", secret, mix_of_epoch, u32(sequence))


def part_ms(params: Params) -> int:
    """Length in ms of the part of an epoch in which one beacon falls."""
    usable = params.epoch_ms - params.mix_lead_ms - params.message_lead_ms
    return usable // params.beacons_per_epoch


def slot_ms(params: Params, secret: bytes, mix_of_epoch: bytes, sequence: int) -> int:
    """Offset in ms, from the start of the epoch, at which beacon `sequence` is due.

    The epoch without its first `mix_lead_ms` and its last `message_lead_ms` is cut into
    `beacons_per_epoch` equal parts; the beacon falls somewhere in its own part.
    """
    part = part_ms(params)
    draw_u64 = int.from_bytes(_slot(secret, mix_of_epoch, sequence)[:8], "big")
    return params.mix_lead_ms + sequence * part + (draw_u64 * part >> 64)


def power_step_db(secret: bytes, mix_of_epoch: bytes, sequence: int) -> int:
    """How far below full power the beacon is sent: 0, 3, 6 or 9 dB; not in the frame."""
    return POWER_STEPS_DB[_slot(secret, mix_of_epoch, sequence)[STEP_BYTE] & 3]


def all_tags(secret: bytes, epoch: int, count: int) -> tuple[bytes, ...]:
    """`tag_of(answer(...))` of the first `count` beacons of an epoch, with what they share once."""
    prefix = ANSWER_LINE + secret + u32(epoch)
    return tuple([sha256(prefix + n).digest()[:TAG_BYTES] for n in _NUMBERS[:count]])


def all_power_steps_cdb(secret: bytes, mix_of_epoch: bytes, count: int) -> tuple[int, ...]:
    """`power_step_db`, in centi-dB, of the first `count` beacons, with what they share once."""
    prefix = SLOT_LINE + secret + mix_of_epoch
    steps = POWER_STEPS_CDB
    return tuple([steps[sha256(prefix + n).digest()[STEP_BYTE] & 3] for n in _NUMBERS[:count]])


def open_point(mix_after: bytes, claim: int, number: int) -> int:
    """The k-th point that draws a leaf of a relay's claim under R_(c+2), before its modulus."""
    return int.from_bytes(digest("open", mix_after, u32(claim), u32(number)), "big")


def draw_prefix(mix_after: bytes, beaconer: int, epoch: int, sequence: int) -> bytes:
    """What all lots of one beacon have in common; see `draw`."""
    return DRAW_LINE + mix_after + _THREE.pack(beaconer, epoch, sequence)


def draw(mix_after: bytes, beaconer: int, epoch: int, sequence: int, witness: int) -> bytes:
    """A witness's lot for one beacon under R_(epoch+2); the smallest `witnesses_drawn` count."""
    return sha256(draw_prefix(mix_after, beaconer, epoch, sequence) + u32(witness)).digest()
