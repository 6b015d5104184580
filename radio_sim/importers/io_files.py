"""Reading published networks from files: JSON or CSV, plain, gzip or xz, format found out."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from chain.errors import UserError
from radio_sim.importers import meshnet_lab, meshviewer, netjson, nyc_mesh
from radio_sim.importers.network import RawNetwork

MAX_BYTES = 256 << 20  # decompressed; the largest community publishes a tenth of it
FORMATS = ("auto", meshviewer.FORMAT, meshnet_lab.FORMAT, netjson.FORMAT, nyc_mesh.FORMAT)
_READERS = {reader.FORMAT: reader for reader in (netjson, meshviewer, meshnet_lab, nyc_mesh)}


def open_packed(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip or xz where its first bytes say so."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path)
    return path.open("rb")


def read_packed(path: Path) -> str:
    """Text of a file, unpacked. Raises UserError for what is broken, too large or no text."""
    try:
        with open_packed(path) as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise UserError(str(path), f"broken archive: {error}", "fetch the file again") from None
    if len(data) > MAX_BYTES:
        raise UserError(str(path), f"over {MAX_BYTES >> 20} MiB unpacked", "give a smaller export")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(str(path), "no UTF-8 text", "give JSON or CSV") from None


def read_document(path: Path) -> Any:
    """A JSON document, or the rows of a CSV file as a list of dictionaries."""
    text = read_packed(path)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(str(path), f"not valid JSON: {error}", "fetch it again") from None
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "id" not in rows[0]:
        raise UserError(str(path), "neither JSON nor CSV with a column id", "see --format")
    return rows


def read_network(
    paths: Sequence[Path], format_name: str = "auto", axis: str = "auto"
) -> RawNetwork:
    """Read the files of one network. Raises UserError where they aren't of one known format."""
    documents = [read_document(path) for path in paths]
    chosen = [
        _format_of(path, document, format_name)
        for path, document in zip(paths, documents, strict=True)
    ]
    if len(set(chosen)) != 1:
        raise UserError("files", f"are {', '.join(chosen)}", "import one network at a time")
    reader = _READERS[chosen[0]]
    if reader is meshnet_lab:
        return meshnet_lab.read(documents, axis)
    network: RawNetwork = reader.read(documents)
    return network


def _format_of(path: Path, document: Any, asked: str) -> str:
    fitting: list[str] = [name for name, reader in _READERS.items() if reader.recognises(document)]
    if asked != "auto":
        if asked not in fitting:
            raise UserError(str(path), f"is not {asked}", "use --format auto, or the right file")
        return asked
    if not fitting:
        known = ", ".join(FORMATS[1:])
        raise UserError(str(path), "its format is not known", f"known are {known}")
    return fitting[0]
