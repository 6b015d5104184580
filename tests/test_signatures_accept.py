"""Which signatures we accept, by every path: exactly what the pinned PyNaCl accepts.

Libraries disagree on Ed25519's edge cases, and a ledger on which two verifiers disagree forks. The
counts are those of SOURCES.md beside the vectors; `verify` is measured through its real path, with
an empty domain tag so that the vectors' own messages reach it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib import metadata, resources

import pytest
from chain_helpers import ground_truth
from conftest import ROOT
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from chain import keys
from chain.service.io_verify import Item, VerifyPool

# SHA-256 of the accepted numbers, comma-separated: which 43, not only how many.
CCTV_ACCEPTED = "36521713b91ca5d28544f38cd646b549"


def by_verify(items: list[Item]) -> list[bool]:
    return [keys.verify(key, "", b"", message, signature) for key, message, signature in items]


def by_verify_message(items: list[Item]) -> list[bool]:
    return [keys.verify_message(*item) for item in items]


def by_pool(items: list[Item]) -> list[bool]:
    with VerifyPool(3) as pool:
        return pool.check(items)


def by_pool_alone(items: list[Item]) -> list[bool]:
    return VerifyPool(1).check(items)


def by_pool_verify(items: list[Item]) -> list[bool]:
    pool = VerifyPool(1)
    twice = [
        [pool.verify(key, "", b"", message, signature) for key, message, signature in items]
        for _ in range(2)
    ]
    assert twice[0] == twice[1]
    return twice[1]


PATHS = [by_verify, by_verify_message, by_pool, by_pool_alone, by_pool_verify]
Path = Callable[[list[Item]], list[bool]]
every_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)


@pytest.fixture(autouse=True)
def bare_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_tag_line", lambda _: b"")


def by_pynacl(items: list[Item]) -> list[bool]:
    """The rule itself, without any code of ours; other lengths than 32 and 64 never hold."""
    answers = []
    for key, message, signature in items:
        try:
            fits = len(key) == 32 and len(signature) == 64
            answers.append(fits and crypto_sign_open(signature + message, key) == message)
        except BadSignatureError:
            answers.append(False)
    return answers


@cache
def cctv() -> list[Item]:
    cases = json.loads(ground_truth("chain", "cctv", "ed25519vectors.json").read_text())
    return [(bytes.fromhex(c["key"]), c["msg"].encode(), bytes.fromhex(c["sig"])) for c in cases]


@every_path
def test_43_of_the_914_cctv_cases_are_accepted_and_always_the_same(path: Path) -> None:
    answers = path(cctv())
    accepted = [number for number, holds in enumerate(answers) if holds]
    assert (len(answers), len(accepted)) == (914, 43)
    numbers = ",".join(map(str, accepted)).encode()
    assert sha256(numbers).hexdigest()[:32] == CCTV_ACCEPTED
    assert answers == by_pynacl(cctv())


@cache
def wycheproof() -> tuple[list[Item], list[bool]]:
    name = ground_truth("chain", "wycheproof", "ed25519_test.json")
    items, valid = [], []
    for group in json.loads(name.read_text())["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            items.append((key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])))
            valid.append(case["result"] == "valid")
    return items, valid


@every_path
def test_wycheproof_s_151_cases_are_judged_as_wycheproof_says(path: Path) -> None:
    items, valid = wycheproof()
    assert len(items) == 151
    assert path(items) == valid


@every_path
def test_of_the_twelve_speccheck_cases_number_3_alone_is_accepted(path: Path) -> None:
    cases = json.loads(ground_truth("chain", "speccheck", "cases.json").read_text())
    names = ("pub_key", "message", "signature")
    items = [tuple(bytes.fromhex(case[name]) for name in names) for case in cases]
    assert [number for number, holds in enumerate(path(items)) if holds] == [3]  # type: ignore[arg-type]


@cache
def rfc8032() -> list[tuple[bytes, Item]]:
    """(seed, item) of the sign.input file that RFC 8032's authors published."""
    pytest.importorskip("cryptography_vectors", reason="development dependency not installed")
    text = resources.files("cryptography_vectors").joinpath("asymmetric/Ed25519/sign.input")
    cases = []
    for line in text.read_text().splitlines():
        seed_and_key, key, message, signed = map(bytes.fromhex, line.split(":")[:4])
        cases.append((seed_and_key[:32], (key, message, signed[:64])))
    return cases


@every_path
def test_rfc_8032_s_1024_cases_are_accepted_and_no_flipped_one(path: Path) -> None:
    items = [item for _, item in rfc8032()]
    assert len(items) == 1_024
    assert path(items) == [True] * 1_024
    flipped = [
        (key, message, bytes([*sig[:n % 64], sig[n % 64] ^ 1, *sig[n % 64 + 1 :]]))
        for n, (key, message, sig) in enumerate(items)
    ]
    assert path(flipped) == [False] * 1_024


def test_we_sign_rfc_8032_s_1024_cases_to_the_byte() -> None:
    for seed, (key, message, signature) in rfc8032():
        assert keys.public_key(seed) == key
        assert keys.sign_message(seed, message) == signature


@every_path
def test_wrong_lengths_are_answers_not_errors(path: Path) -> None:
    seed = bytes(32)
    key, signature = keys.public_key(seed), keys.sign_message(seed, b"m")
    odd = [
        *((key[:n], b"m", signature) for n in (0, 31)),
        *((key, b"m", signature[:n]) for n in (0, 1, 63)),
        (key + b"\0", b"m", signature),
        (key, b"m", signature + b"\0"),
        (key, b"", signature + b"m"),  # the joined bytes would hold
    ]
    assert path(odd) == [False] * len(odd)
    assert path([(key, b"m", signature)]) == [True]


def test_pynacl_is_pinned_to_the_one_whose_accept_set_this_is() -> None:
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    installed = metadata.version("pynacl")
    assert installed == pins["pynacl"]
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = [re.fullmatch(r"pynacl>=(\d+\.\d+)(?:,<[\d.]+)?", line) for line in needed]
    lowest = next(bound[1] for bound in bounds if bound)
    assert installed.startswith(f"{lowest}."), "the accept set was measured with this series only"
