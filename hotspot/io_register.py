"""`wavecomb hotspot register`: assert anew where a hotspot stands, after a move, a sale or a rest.

The daemon registers a hotspot that the ledger doesn't know; every later assertion is the owner's
deed, and this is the command for it. A sale takes three signatures on three machines, so it makes a
draft (`chain/drafts.py`) that `wavecomb chain sign` completes.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from chain.cli.io_common import parse_hex, report, show
from chain.drafts import Draft, add_signature, encode_draft, get_draft, get_signed
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient, LedgerUnavailable
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.records import Refusal
from hotspot.config import HotspotConfig
from hotspot.io_membership import assertion
from hotspot.io_network import Network, learn_network
from hotspot.io_queue import DurableQueue
from hotspot.secrets import SecretChain

ALREADY = "already"
SAID = "nothing changed; after a retirement add --new-chain"


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns a hotspot by the ledger, None if nobody does yet, and who shall."""

    now: bytes | None
    wanted: bytes

    def signers(self, hotspot: bytes) -> tuple[bytes, ...]:
        """Whose signatures a registration needs, in order (docs/records.md, types 2 and 11)."""
        former = () if self.now in (None, self.wanted) else (self.now,)
        return (hotspot, self.wanted, *(key for key in former if key))


def register(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Sign a registration that says what the settings say; submit it, or write a draft."""
    spot_file, owner_file = config.hotspot.key_file, config.hotspot.owner_key_file
    seeds = [load_seed(base / name) for name in (spot_file, owner_file)]
    key, own = map(public_key, seeds)
    queue = DurableQueue(base / config.hotspot.queue)
    try:
        with LedgerClient(config.ledger.url) as client:
            network = learn_network(client, queue)
            spot = client.hotspot(key)
            wanted = parse_hex(options.owner, "owner") if options.owner else own
            owners = Owners(spot.owner if spot else None, wanted)
            chain = get_chain(queue, network, seeds[0], config, options.new_chain)
            record = assertion(config, key, owners.wanted, chain)
            draft = get_draft(record, network.network_id, owners.signers(key))
            return send(options, client, sign_all(draft, seeds))
    except LedgerUnavailable as error:
        raise UserError(
            *("ledger.url", str(error), "check the internet connection, or mend ledger.url"),
            exit_code=EXIT_FAILED,
        ) from error
    finally:
        queue.close()


def owner_file(config: HotspotConfig) -> str:
    """The name of the file with the owner's key."""
    return config.hotspot.owner_key_file


def get_chain(
    queue: DurableQueue, network: Network, seed: bytes, config: HotspotConfig, renewed: bool
) -> SecretChain:
    """The daemon's chain of secrets, or a new one that it will use from its next start on."""
    kept = queue.note("chain")
    if kept is None or renewed:
        now_ms = time.time_ns() // 1_000_000
        first = network.params.epoch_at(network.start_ms, now_ms) + 1
        kept = json.dumps([first, config.hotspot.chain_length]).encode()
        queue.set_note("chain", kept)
    return SecretChain(seed, *json.loads(kept))


def sign_all(draft: Draft, seeds: list[bytes]) -> Draft:
    """The draft with the signatures of those of the keys that it names."""
    for seed in seeds:
        more = add_signature(draft, seed)
        draft = draft if isinstance(more, Refusal) else more
    return draft


def send(options: argparse.Namespace, client: LedgerClient, draft: Draft) -> int:
    """Submit a draft that is complete; write one that is not, for the others to sign."""
    if options.out:
        options.out.write_text(encode_draft(draft))
        missing = [key.hex() for key in draft.missing]
        text = f"draft in {options.out}; {len(missing)} signatures missing: {', '.join(missing)}"
        show(options, {"draft": str(options.out), "missing": missing}, text)
        return EXIT_OK
    signed = get_signed(draft)
    if isinstance(signed, Refusal):
        names = ", ".join(key.hex() for key in draft.missing)
        remedy = "write a draft for them: --out FILE, then wavecomb chain sign FILE --key KEY"
        raise UserError("owner", f"{names} must sign too", remedy)
    (result,) = client.submit([signed.wire])
    if result.reason == ALREADY:
        result = replace(result, detail=f"{SAID} {result.detail}".rstrip())
    return report(options, [result])
