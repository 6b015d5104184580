"""Upgrades that can't brick: what a release is, which one starts, when a trial has passed. Pure.

    ROOT/start             what the service manager runs; a shell script, the same for all releases
    ROOT/slot              NOW BEFORE TRIES: one line, replaced whole
    ROOT/config            path of hotspot.toml
    ROOT/keys              release keys: THRESHOLD, then a public key a line
    ROOT/releases/VERSION  an unpacked release with bin/wavecomb; it appears whole or not at all

`TRIES` is `-` for a release that has proved itself, else how often its trial began. A trial begins
with every start until the release *before* has seen the new one beacon and its doctor content;
if that doesn't come in time, or the third start is the last, the release before runs again. Each
state is one line that a rename puts in place, so a power cut at any moment leaves a bootable one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.keys import KEY_BYTES, SIGNATURE_BYTES, verify
from chain.records import Refusal

TRIALS_MAX = 3
PROVEN = "-"
TAG, NO_NETWORK = "release", bytes(32)
FILE_MAX_BYTES, FILES_MAX = 64 << 20, 16
MANIFEST_MAX_BYTES = 64 << 10
# Findings that a new version may be blamed for; an unreachable ledger or a wrong clock is not one.
BLAMED = ("daemon", "disk", "queue", "radio", "RX_DEAD", "TX_DEAD", "DISK_FULL")
WAITING = ("CLOCK", "LISTEN")
_VERSION = re.compile(r"\d+(\.\d+){1,3}((a|b|rc|\.dev|\.post)\d+)?")
_WHEEL = re.compile(r"[A-Za-z0-9_.+-]+\.whl")

LAUNCHER = """\
#!/bin/sh
# Starts the release that `slot` names. A release on trial is started at most three times; the one
# before it watches, and puts itself back where the trial fails. With arguments: runs a command.
root=$(cd "$(dirname "$0")" && pwd) || exit 1
read -r now before tries < "$root/slot" || exit 1
program() { echo "$root/releases/$1/bin/wavecomb"; }
write() { echo "$1" > "$root/slot.new" && sync && mv -f "$root/slot.new" "$root/slot" && sync; }
if [ ! -x "$(program "$now")" ] && [ -x "$(program "$before")" ]; then
  write "$before $now -"; now=$before; tries=-
fi
[ $# -gt 0 ] && exec "$(program "$now")" "$@"
case $tries in
  -) ;;
  [012]) write "$now $before $((tries + 1))"
    "$(program "$before")" hotspot update watch --root "$root" --pid $$ & ;;
  *) write "$before $now -"; now=$before ;;
esac
read -r config < "$root/config"
exec "$(program "$now")" hotspot run --config "$config"
"""
PROGRAM = """\
#!/bin/sh
# Runs this release's own code; the interpreter and its libraries are the machine's.
here=$(cd "$(dirname "$0")/.." && pwd)
python={python}
[ -x "$python" ] || python=python3
PYTHONPATH="$here/site${{PYTHONPATH:+:$PYTHONPATH}}" exec "$python" -P -m wavecomb "$@"
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """Which release starts, which one it falls back on, and how its trial stands."""

    now: str
    before: str
    tries: int | None  # None: it has proved itself

    @property
    def line(self) -> str:
        """As the file holds it."""
        return f"{self.now} {self.before} {PROVEN if self.tries is None else self.tries}\n"

    @property
    def back(self) -> Slot:
        """The release before, for good."""
        return Slot(self.before, self.now, None)


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """A wheel of a release."""

    name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """What a manifest says: a version, when it was made (ms since 1970), its wheels."""

    version: str
    made_ms: int
    files: tuple[ReleaseFile, ...]


@dataclass(frozen=True, slots=True)
class ReleaseKeys:
    """Who may release: so many of these keys must have signed."""

    threshold: int
    keys: tuple[bytes, ...]


def parse_slot(text: str) -> Slot | Refusal:
    """Read the slot file."""
    words = text.split()
    if len(words) != 3 or not (words[2] == PROVEN or words[2].isdigit()):
        return Refusal("bad_slot", "slot: is no line of NOW BEFORE TRIES; run: update adopt")
    return Slot(words[0], words[1], None if words[2] == PROVEN else int(words[2]))


def parse_keys(text: str) -> ReleaseKeys | Refusal:
    """Read the file of release keys."""
    words = text.split()
    bad = Refusal("bad_keys", "keys: must hold THRESHOLD, then a public key a line")
    try:
        threshold, keys = int(words[0]), tuple(bytes.fromhex(word) for word in words[1:])
    except (ValueError, IndexError):
        return bad
    is_good = 1 <= threshold <= len(set(keys)) and all(len(key) == KEY_BYTES for key in keys)
    return ReleaseKeys(threshold, tuple(dict.fromkeys(keys))) if is_good else bad


def format_keys(keys: ReleaseKeys) -> str:
    """The file of release keys."""
    return "\n".join([str(keys.threshold), *(key.hex() for key in keys.keys), ""])


def make_manifest(release: Release) -> bytes:
    """The bytes that are signed."""
    files = [{"name": f.name, "sha256": f.sha256.hex(), "size": f.size} for f in release.files]
    value = {"files": files, "made_ms": release.made_ms, "version": release.version}
    return json.dumps(value, sort_keys=True, indent=1).encode() + b"\n"


def read_manifest(
    manifest: bytes, signatures: bytes, trusted: ReleaseKeys
) -> Release | Refusal:
    """What a manifest says, if enough of the trusted keys signed exactly these bytes."""
    signed = _signers(manifest, signatures, trusted)
    if signed < trusted.threshold:
        detail = f"manifest: {signed} of {trusted.threshold} known release keys signed it"
        return Refusal("not_signed", f"{detail}; don't install it, ask whoever releases")
    try:
        return _release_of(json.loads(manifest))
    except (ValueError, KeyError, TypeError) as error:
        return Refusal("bad_manifest", f"manifest: can't be read ({error}); ask whoever releases")


def _signers(manifest: bytes, signatures: bytes, trusted: ReleaseKeys) -> int:
    valid: set[bytes] = set()
    for line in signatures.decode("ascii", "replace").splitlines()[: 4 * FILES_MAX]:
        try:
            key, signature = (bytes.fromhex(word) for word in line.split())
        except ValueError:
            continue
        known = key in trusted.keys and len(signature) == SIGNATURE_BYTES
        if known and verify(key, TAG, NO_NETWORK, manifest, signature):
            valid.add(key)
    return len(valid)


def _release_of(value: Any) -> Release:
    files = tuple(
        ReleaseFile(row["name"], int(row["size"]), bytes.fromhex(row["sha256"]))
        for row in value["files"]
    )
    if not _VERSION.fullmatch(value["version"]):
        raise ValueError(f"version {value['version']!r}")
    if not 1 <= len(files) <= FILES_MAX:
        raise ValueError(f"{len(files)} files")
    for file in files:
        if not _WHEEL.fullmatch(file.name) or ".." in file.name:
            raise ValueError(f"file name {file.name!r}")
        if not 0 < file.size <= FILE_MAX_BYTES or len(file.sha256) != 32:
            raise ValueError(f"{file.name}: size or hash")
    return Release(value["version"], int(value["made_ms"]), files)


def order_of(version: str) -> tuple[object, ...]:
    """A key that sorts versions as they follow each other; pre-releases before their release."""
    match = re.fullmatch(r"([\d.]+?)(?:\.?(dev|a|b|rc|post)(\d+))?", version)
    if match is None:
        return ((), 0, 0)
    numbers = tuple(int(part) for part in match[1].split("."))
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    ranks = {"dev": -4, "a": -3, "b": -2, "rc": -1, None: 0, "post": 1}
    return (numbers, ranks[match[2]], int(match[3] or 0))


def get_step_refusal(slot: Slot, release: Release, rejected: Sequence[str]) -> Refusal | None:
    """Why a release isn't the next one, if so."""
    if slot.tries is not None:
        detail = f"release: {slot.now} is on trial; wait, or run: update rollback"
        return Refusal("on_trial", detail)
    if order_of(release.version) <= order_of(slot.now):
        detail = f"release: {release.version} isn't newer than {slot.now}; nothing to do"
        return Refusal("not_newer", detail)
    if release.version in rejected:
        detail = f"release: {release.version} failed its trial here; add --force to try it again"
        return Refusal("rejected", detail)
    return None


def judge_trial(status: dict[str, Any] | None, pid: int, findings: list[dict[str, Any]]) -> str:
    """Why a trial hasn't passed yet; empty once it has: it beacons, and its doctor is content."""
    if status is None or status.get("pid") != pid:
        return "the new release hasn't said anything yet"
    if "stopped" in status:
        return f"it could not start: {status['stopped']}"
    if not status.get("counts", {}).get("beacons"):
        return f"no beacon yet; it says {status['state']['name']}: {status['state']['reason']}"
    bad = [row for row in findings if row.get("verdict") == "bad" and row.get("name") in BLAMED]
    return "; ".join(f"{row['name']}: {row['seen']}" for row in bad)


def is_blamed(status: dict[str, Any] | None, pid: int) -> bool:
    """Whether a trial without a beacon is the release's fault: not where it waits for others.

    A hotspot that doesn't know the time, or whom the ledger hasn't taken yet, couldn't have
    beaconed under any release; this one may be tried again.
    """
    if status is None or status.get("pid") != pid or "stopped" in status:
        return True
    return status["state"]["name"] not in WAITING
