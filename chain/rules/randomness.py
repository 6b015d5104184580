"""What draws lots: the mix of all secrets, and what the cosigners' random functions make of it.

R_(e+2) is known to whoever sees the last secret that is revealed in e+1: by revealing it or not,
one chooses between two draws, and the sequencer, who sees them all, between many. So cosigners put
the checkpoint that closed e+1 into a function that nobody can foresee and they can't choose
(chain/ecvrf.py), and show the outputs in e+2:

    L_e = H("lots", R_(e+2), outputs by ascending key)         drawn when e+2 closes

That takes an epoch longer. It is done for e if a majority of the cosigners showed outputs over the
close of e: where nobody does, lots fall when e+1 closes and L_e = R_(e+2), as they do for an epoch
in which too few cosigners answered.
"""

from __future__ import annotations

from chain import draws, ecvrf
from chain.admission import Role
from chain.records import Randomness, Refusal, Signed
from chain.rules.appointments import get_keys
from chain.rules.lots import Lots, compute_lots
from chain.rules.outcome import ALREADY, Accepted, Verdict
from chain.state import State

OUTPUT_BYTES = 32  # of an output's 64 so many are kept: as many as any hash here has
OUTPUTS_KEPT = 8  # epochs: lots need those of two epochs before


def process_randomness(state: State, signed: Signed, record: Randomness) -> Verdict:
    """Keep a cosigner's output over the checkpoint of the epoch that closed last."""
    if signed.signatures:
        return Refusal("bad_signature", "signatures: the proof is the one needed; send none")
    epoch, place = record.epoch, (record.epoch, record.cosigner)
    close = state.closes.get(epoch)
    if close is None or epoch != state.epoch - 1:
        newest = state.epoch - 1
        return Refusal("wrong_epoch", f"epoch: must be {newest}, the last that closed")
    keys = [member.key for member in get_keys(state, Role.COSIGNER, epoch)]
    if record.cosigner not in keys:
        return Refusal("not_appointed", "cosigner: has no appointment as cosigner; ask operators")
    if place in state.outputs:
        return Accepted(reason=ALREADY)
    alpha = draws.randomness_input(close.text)
    output = ecvrf.verify_proof(record.cosigner, alpha, record.proof)
    if output is None:
        return Refusal("bad_proof", "proof: does not hold for this checkpoint; prove it anew")
    state.outputs[place] = output[:OUTPUT_BYTES]
    state.touch("outputs", place)
    return Accepted()


def get_outputs(state: State, epoch: int) -> list[bytes]:
    """Outputs over the close of an epoch, ascending by key; none if they are no majority."""
    cosigners = len(get_keys(state, Role.COSIGNER, epoch))
    found = [output for (of, _), output in sorted(state.outputs.items()) if of == epoch]
    return found if 2 * len(found) > cosigners else []


def count_outputs(state: State, epoch: int) -> tuple[int, int]:
    """Outputs shown over the close of an epoch, and cosigners of then."""
    shown = sum(of == epoch for of, _ in state.outputs)
    return shown, len(get_keys(state, Role.COSIGNER, epoch))


def get_lots_source(state: State, epoch: int) -> Lots:
    """By what the lots of an epoch are drawn, at the time when they are."""
    return compute_lots(count_outputs(state, epoch), count_outputs(state, epoch + 1))


def is_awaited(state: State, epoch: int) -> bool:
    """Whether the lots of an epoch wait for outputs over the close of the one after it."""
    return bool(get_outputs(state, epoch))


def get_lots(state: State, epoch: int) -> bytes:
    """L_epoch, once R_(epoch+2) is known and, if they are awaited, the outputs are in."""
    outputs = get_outputs(state, epoch + 1) if is_awaited(state, epoch) else []
    return draws.lots(state.mixes[epoch + 2], outputs)


def process_old_outputs(state: State) -> None:
    """Forget outputs that no lots need any more."""
    for place in [place for place in state.outputs if place[0] < state.epoch - OUTPUTS_KEPT]:
        del state.outputs[place]
        state.touch("outputs", place)
