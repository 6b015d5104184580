"""Handlers of what others verify: checkpoints, the log's files, proofs of rewards and balances."""

from __future__ import annotations

import asyncio
import base64

from aiohttp import web

from chain.admission import Role
from chain.errors import UserError
from chain.proofs.balances import ACCOUNTS, HOTSPOTS, decode_top, read_leaf
from chain.proofs.checkpoint import Opened, Trust, open_checkpoint, origin_of
from chain.proofs.io_site import CHECKPOINT, Site, content_type, is_immutable
from chain.proofs.note import COSIGNATURE, Note, VerifierKey
from chain.proofs.reward_proof import encode_proof, make_proof
from chain.proofs.tiles import Tile, decode_bundle, encode_bundle, parse_tile_path
from chain.records import Refusal
from chain.rules.appointments import get_keys
from chain.service import admission_views
from chain.service.api import NOTE
from chain.service.io_call import Answer, Call, Handler, missing
from chain.service.io_routes_state import find_hotspot


def _note(call: Call) -> Note:
    publisher = call.service.publisher
    if publisher is None or publisher.note is None:
        problem = "no checkpoint is signed yet"
        remedy = "ask after the first epoch closed; the sequencer's key must be here"
        raise UserError(CHECKPOINT, problem, remedy, status=404)
    return publisher.note


async def get_checkpoint(call: Call) -> Answer:
    """The newest signed checkpoint, a C2SP note."""
    return web.Response(body=_note(call).encode(), headers={"Content-Type": NOTE})


async def get_checkpoints(call: Call) -> Answer:
    """The newest closes, and who cosigned them on the ledger."""
    return {"checkpoints": admission_views.checkpoints_json(call.state)}


async def get_log(call: Call) -> Answer:
    """A file of the log as any static host would serve it."""
    path = call.values["path"]
    site = call.service.site
    raw = None if site is None else await asyncio.to_thread(site.read, path)
    raw = raw or _archived(call, path)
    if raw is None:
        raise missing("path", path[:80])
    cache = "public, max-age=31536000, immutable" if is_immutable(path) else "no-cache"
    headers = {"Content-Type": content_type(path), "Cache-Control": cache}
    return web.Response(body=raw, headers=headers)


def _archived(call: Call, path: str) -> bytes | None:
    """A bundle of records that were pruned, from the archive; a part of one, too."""
    tile, folder = parse_tile_path(path), call.service.archive.directory
    if tile is None or tile.level is not None or folder is None:
        return None
    try:
        whole = decode_bundle((folder / Tile(None, tile.number).path).read_bytes())
    except FileNotFoundError:
        return None
    return None if isinstance(whole, Refusal) else encode_bundle(whole[: tile.width])


async def get_hotspot_proof(call: Call) -> Answer:
    """Proof of what a hotspot earned until the newest settlement under a checkpoint."""
    return await _proof(call, HOTSPOTS, find_hotspot(call))


async def get_account_proof(call: Call) -> Answer:
    """Proof of what an account got and spent until the newest settlement under a checkpoint."""
    account = call.state.accounts.get(call.values["key"])
    if account is None:
        raise missing("key", call.values["key"].hex())
    return await _proof(call, ACCOUNTS, account.slot)


async def _proof(call: Call, kind: str, index: int) -> dict[str, object]:
    site = call.service.site
    opened = _open(call)
    if site is None:
        raise UserError("id", "this service has no files", "ask another one", status=503)
    return await asyncio.to_thread(_prove, site, opened, kind, index)


def _prove(site: Site, opened: Opened, kind: str, index: int) -> dict[str, object]:
    balances = opened.checkpoint.balances
    settlement = 0 if balances is None else balances.settlement

    def fetch(path: str) -> bytes:
        return site.read(path) or b""

    top = decode_top(fetch(f"balances/{settlement}/top"))
    if top is None or index >= top.size(kind):
        problem = f"number {index} of {kind} is in no settlement under a checkpoint yet"
        raise UserError("id", problem, "ask after the next settlement", status=404)
    leaf = read_leaf(settlement, kind, index, top.size(kind), fetch)
    proof = None if leaf is None else make_proof(kind, index, *leaf, top, opened)
    if leaf is None or proof is None or isinstance(proof, Refusal):
        raise UserError("id", "the files of its settlement are gone", "ask again soon", status=404)
    entry = leaf[0]
    return {
        "kind": kind,
        "index": index,
        "key": entry.key.hex(),
        "issued_ucr": entry.issued_ucr,
        "spent_ucr": entry.spent_ucr,
        "settlement": settlement,
        "proof": base64.b64encode(encode_proof(proof)).decode(),
    }


def _open(call: Call) -> Opened:
    """The newest checkpoint with every signature on it that holds."""
    note, publisher = _note(call), call.service.publisher
    assert publisher is not None, "it just gave a note"
    state = call.state
    appointed = (
        VerifierKey(member.name, COSIGNATURE, member.key)
        for member in get_keys(state, Role.COSIGNER, state.epoch)
    )
    cosigners = dict.fromkeys((*appointed, *publisher.witnesses))
    trust = Trust(origin_of(state.network_id), tuple(publisher.keys), tuple(cosigners))
    opened = open_checkpoint(note, trust)
    if isinstance(opened, Refusal):
        raise UserError(CHECKPOINT, opened.detail, "wait for the next one", status=503)
    return opened


HANDLERS: dict[str, Handler] = {
    "get_checkpoint": get_checkpoint,
    "get_checkpoints": get_checkpoints,
    "get_log": get_log,
    "get_hotspot_proof": get_hotspot_proof,
    "get_account_proof": get_account_proof,
}
