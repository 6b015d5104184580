"""A witness's answer carries its random output, and the ledger takes it from there."""

from __future__ import annotations

from chain import draws, ecvrf
from chain.keys import public_key
from chain.proofs.io_cosign import _read_proof
from chain.proofs.note import (
    COSIGNATURE,
    Note,
    VerifierKey,
    cosign_note,
    parse_note,
    randomness_line,
    sign_note,
    verify_note,
)
from chain.records import Randomness, Refusal
from chain.vectors.scenarios_admission import _cosigner
from chain.vectors.town import Town

SEED, NAME = bytes(range(32)), "w0"
KEY = VerifierKey(NAME, COSIGNATURE, public_key(SEED))
TEXT = "wavecomb/0011223344556677\n12\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"


def test_the_line_holds_the_proof_over_the_text() -> None:
    """Read back from an answer, it verifies under the cosigner's key and gives the output."""
    answer = f"{cosign_note(TEXT, NAME, SEED, 7)}{randomness_line(TEXT, NAME, SEED)}"
    proof = _read_proof(KEY, answer)
    output = ecvrf.verify_proof(KEY.key, draws.randomness_input(TEXT), proof)
    assert output == ecvrf.compute_output(proof)
    assert ecvrf.verify_proof(KEY.key, draws.randomness_input(TEXT + "x"), proof) is None


def test_other_lines_are_no_proofs() -> None:
    """Of another witness, of another length, or none at all."""
    other = randomness_line(TEXT, "w1", SEED)
    short = type(other)(NAME, randomness_line(TEXT, NAME, SEED).key_id, bytes(79))
    for answer in ("", str(cosign_note(TEXT, NAME, SEED, 7)), str(other), str(short), "junk\n"):
        assert _read_proof(KEY, answer) == b""


def test_readers_of_notes_pass_over_the_line() -> None:
    """A note that carries it still parses and verifies, in one signature."""
    line, output = sign_note(TEXT, NAME, SEED), randomness_line(TEXT, NAME, SEED)
    note = parse_note(Note(TEXT, (line, output)).encode())
    assert not isinstance(note, Refusal)
    verified = verify_note(note, [VerifierKey(NAME, 1, public_key(SEED))])
    assert not isinstance(verified, Refusal)
    assert len(verified) == 1


def test_the_ledger_takes_what_a_witness_gave() -> None:
    """The proof of a witness's line is the one of a randomness record."""
    town = Town("cosigners")
    town.join()
    town.submit(_cosigner(town, 0))
    town.wait_for(4)
    text = town.ledger.state.closes[3].text
    key = town.key("cosigner", 0)
    line = randomness_line(text, NAME, town.seed("cosigner", 0))
    (result,) = town.submit(town.seal(Randomness(3, key, line.blob)))
    assert result.accepted
    assert set(town.ledger.state.outputs) == {(3, key)}
