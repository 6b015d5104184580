"""Snapshots for operators who join late: none are offered yet, and none are taken."""

from __future__ import annotations

from chain.abci import messages as m
from chain.abci.protobuf import Message


class Snapshots:
    """Answers the requests of the engine's snapshot connection."""

    def respond(self, request: Message) -> Message:
        """The response to a request about snapshots."""
        match request:
            case m.OfferSnapshotRequest():
                return m.OfferSnapshotResponse(m.SNAPSHOT_REJECT_FORMAT)
            case m.LoadSnapshotChunkRequest():
                return m.LoadSnapshotChunkResponse()
            case m.ApplySnapshotChunkRequest():
                return m.ApplySnapshotChunkResponse(m.CHUNK_ABORT)
            case _:
                return m.ListSnapshotsResponse()
