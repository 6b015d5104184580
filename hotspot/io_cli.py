"""`wavecomb hotspot`: puts the always-on daemon on its diet, then hands over to the verbs.

What a process has imported it keeps. The ledger is reached by plain HTTP, on this machine or
through a tunnel, so http.client does without TLS, as it may; and Python hashes without OpenSSL,
too, whose library alone takes three MiB of a router's memory.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

OWN_HASHES = ("_sha2", "_sha256")  # Python 3.12 on, and before


def do_without() -> None:
    """Keep TLS and OpenSSL out of this process, where Python can hash by itself."""
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    if any(map(importlib.util.find_spec, OWN_HASHES)):
        sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]


def main(argv: Sequence[str]) -> int:
    """Parse and dispatch."""
    if argv[:1] == ["run"]:
        do_without()
    from hotspot.io_verbs import main as verbs

    return verbs(argv)
