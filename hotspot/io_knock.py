"""Knock at the owner's gateway: whether it answers, and what it sees coming (`GET /insights`).

Words come from another process and end up on the owner's page, so they are cut to size here and
anything of another shape is left out; the page escapes them.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

KNOCK_S = 2.0
LOOK_S = 5.0
INSIGHTS_MAX = 20
ANSWER_MAX_BYTES = 1 << 20
WORDS_MAX = 400
_WORDS = ("kind", "urgency", "what", "remedy", "gain")


@dataclass(frozen=True, slots=True)
class GatewayKnown:
    """Whether this hotspot's gateway answers; `insights` of it, None where it gave none."""

    answers: bool
    insights: tuple[dict[str, Any], ...] | None = None


def knock(address: tuple[str, int]) -> GatewayKnown:
    """Ask a gateway what it sees; never raises."""
    connection = http.client.HTTPConnection(*address, timeout=KNOCK_S)
    try:
        connection.connect()
    except OSError:
        return GatewayKnown(False)
    try:
        connection.sock.settimeout(LOOK_S)
        connection.request("GET", "/insights", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(ANSWER_MAX_BYTES)
        return GatewayKnown(True, read_insights(body) if answer.status == 200 else None)
    except (OSError, http.client.HTTPException):
        return GatewayKnown(True)
    finally:
        connection.close()


def read_insights(body: bytes) -> tuple[dict[str, Any], ...] | None:
    """Read the answer, most urgent first as it came; None if it is no such answer."""
    try:
        rows = json.loads(body)["insights"]
        sound = [row for row in rows if _is_sound(row)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return tuple(
        {
            **{name: row[name][:WORDS_MAX] for name in _WORDS},
            "hotspot": row["hotspot"],
            "link": row["link"],
        }
        for row in sound[:INSIGHTS_MAX]
    )


def _is_sound(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in _WORDS):
        return False
    link = row.get("link")
    is_link = isinstance(link, list) and len(link) == 2 and all(type(end) is int for end in link)
    return type(row.get("hotspot")) is int and (link is None or is_link)
