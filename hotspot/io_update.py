"""`wavecomb hotspot update`: adopt, check, apply, watch, status, rollback; and sign, for releasers.

Nothing here stops or starts the daemon but the watch of a failed trial and `--restart`: the service
manager does, and what it starts is ROOT/start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from chain.cli.io_common import parse_hex, show
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_keys import load_seed
from chain.keys import public_key, sign
from hotspot.io_release import (
    MANIFEST,
    SIGNATURES,
    Root,
    fetch_release,
    install,
    refuse,
    write_durably,
)
from hotspot.update import (
    NO_NETWORK,
    TAG,
    Release,
    ReleaseFile,
    ReleaseKeys,
    Slot,
    get_step_refusal,
    is_blamed,
    judge_trial,
    make_manifest,
    order_of,
)

CHECK_S = 60
LOOK_S = 1.0


def update(options: argparse.Namespace) -> int:
    """Do what `options.action` says."""
    actions = {
        "adopt": adopt,
        "check": check,
        "apply": apply,
        "watch": watch,
        "status": status,
        "rollback": rollback,
        "sign": sign_release,
    }
    return actions[options.action](options)


def _source(options: argparse.Namespace) -> str:
    if not options.source:
        raise UserError("--from", "no source of releases", "give a folder, file:// or http(s)://")
    return str(options.source)


def adopt(options: argparse.Namespace) -> int:
    """Put a hotspot under releases: pin the keys, install the first, write what starts it."""
    source = _source(options)
    keys = tuple(parse_hex(text, "--key") for text in options.key)
    if not 1 <= options.threshold <= len(set(keys)):
        remedy = "give --key KEYHEX for each key, and --threshold no larger"
        raise UserError("--key", f"{len(set(keys))} keys for {options.threshold}", remedy)
    if not options.config.is_file():
        raise UserError("--config", f"{options.config}: no such file", "run: wavecomb hotspot init")
    root = Root(options.root)
    trusted = ReleaseKeys(options.threshold, keys)
    release = fetch_release(source, trusted)
    root.prepare(trusted, options.config)
    install(root, source, release)
    _try_program(root, release.version)
    root.set_slot(Slot(release.version, release.version, None))
    start = root.folder / "start"
    rows = {"version": release.version, "start": str(start)}
    text = f"version   {release.version}\nstart     {start} (for your service manager)"
    show(options, rows, text)
    return EXIT_OK


def check(options: argparse.Namespace) -> int:
    """Say whether there is a newer release; exit code 1 if not."""
    root = Root(options.root)
    slot, release = root.slot(), fetch_release(_source(options), root.keys())
    is_newer = order_of(release.version) > order_of(slot.now)
    age_days = (time.time_ns() // 1_000_000 - release.made_ms) // 86_400_000
    rows = {"running": slot.now, "offered": release.version, "newer": is_newer}
    word = "newer" if is_newer else "not newer"
    text = f"running   {slot.now}\noffered   {release.version} ({word}; {age_days} days old)"
    show(options, {**rows, "age_days": age_days}, text)
    return EXIT_OK if is_newer else EXIT_FAILED


def apply(options: argparse.Namespace) -> int:
    """Install a newer release beside the running one and begin its trial."""
    root, source = Root(options.root), _source(options)
    slot, release = root.slot(), fetch_release(source, root.keys())
    refuse(get_step_refusal(slot, release, () if options.force else root.rejected()))
    root.forget(keep=(slot.now, slot.before, release.version))
    install(root, source, release)
    _try_program(root, release.version)
    root.set_slot(Slot(release.version, slot.now, 0))
    restarted = _restart(options.restart)
    rows = {"version": release.version, "before": slot.now, "restarted": restarted}
    after = "" if restarted else "\nnext      restart the service: the trial begins then"
    show(options, rows, f"on trial  {release.version}; falls back on {slot.now}{after}")
    return EXIT_OK


def _try_program(root: Root, version: str) -> None:
    """The release's own word of its version and of these settings, before anything starts it."""
    config = str(root.config())
    for words in (["--version"], ["hotspot", "config", "check", "--config", config]):
        done = subprocess.run(
            [root.program(version), *words],
            capture_output=True,
            text=True,
            timeout=CHECK_S,
            check=False,
        )
        said = (done.stderr or done.stdout).strip().splitlines()
        if done.returncode or (words[0] == "--version" and version not in done.stdout):
            problem = f"{version} fails its check: {said[-1] if said else done.returncode}"
            remedy = "nothing was changed; ask whoever releases"
            raise UserError("release", problem, remedy, exit_code=EXIT_FAILED)


def _restart(command: str) -> bool:
    if not command:
        return False
    done = subprocess.run(shlex.split(command), check=False)
    if done.returncode:
        problem = f"{command!r} ended with {done.returncode}"
        remedy = "restart the service by hand: the trial begins then"
        raise UserError("--restart", problem, remedy, exit_code=EXIT_FAILED)
    return True


def watch(options: argparse.Namespace) -> int:
    """Judge a trial (ROOT/start runs this): confirm it, or put the release before back."""
    root = Root(options.root)
    slot = root.slot()
    if slot.tries is None:
        return EXIT_OK
    deadline = time.monotonic() + options.within
    reason = "nothing yet"
    while time.monotonic() < deadline:
        if not _is_running(options.pid):
            return EXIT_FAILED  # the launcher counts its starts
        reason = _look(root, slot.now, options.pid)
        if not reason:
            root.set_slot(Slot(slot.now, slot.before, None))
            show(options, {"version": slot.now, "passed": True}, f"passed    {slot.now}")
            return EXIT_OK
        time.sleep(LOOK_S)
    if is_blamed(_read_status(root), options.pid):
        root.reject(slot.now)
    root.set_slot(slot.back)
    rows = {"version": slot.now, "passed": False, "reason": reason}
    show(options, rows, f"failed    {slot.now}: {reason}\nback to   {slot.before}")
    with contextlib.suppress(ProcessLookupError):
        os.kill(options.pid, signal.SIGTERM)
    return EXIT_FAILED


def _is_running(pid: int) -> bool:
    """Whether a process is there and hasn't ended; one that nobody has waited for yet has."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def _read_status(root: Root) -> dict[str, Any] | None:
    from hotspot.io_verbs import load_config

    config = root.config()
    path = config.parent / load_config(config).hotspot.status_file
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _look(root: Root, version: str, pid: int) -> str:
    """Why the trial hasn't passed yet; the doctor is asked once there is a beacon."""
    config, said = root.config(), _read_status(root)
    if reason := judge_trial(said, pid, []):
        return reason
    done = subprocess.run(
        [root.program(version), "hotspot", "doctor", "--json", "--config", config],
        capture_output=True,
        text=True,
        timeout=CHECK_S,
        check=False,
    )
    try:
        findings = json.loads(done.stdout)["findings"]
    except (ValueError, KeyError):
        return f"its doctor fails: {done.stderr.strip()[-200:]}"
    return judge_trial(said, pid, findings)


def status(options: argparse.Namespace) -> int:
    """Say which release runs, which is the fall-back, and what failed; exit code 1 on trial."""
    root = Root(options.root)
    slot = root.slot()
    trial = "proven" if slot.tries is None else f"on trial, started {slot.tries} times"
    rows = {"now": slot.now, "before": slot.before, "tries": slot.tries}
    failed = root.rejected()
    text = f"now       {slot.now} ({trial})\nbefore    {slot.before}"
    text += f"\nfailed    {', '.join(failed)}" if failed else ""
    show(options, {**rows, "rejected": failed}, text)
    return EXIT_OK if slot.tries is None else EXIT_FAILED


def rollback(options: argparse.Namespace) -> int:
    """Go back to the release before, now."""
    root = Root(options.root)
    slot = root.slot()
    if slot.before == slot.now or not root.program(slot.before).exists():
        raise UserError("--root", f"there is none before {slot.now}", "nothing was changed")
    root.reject(slot.now)
    root.set_slot(slot.back)
    restarted = _restart(options.restart)
    show(options, {"now": slot.before, "restarted": restarted}, f"now       {slot.before}")
    return EXIT_OK


def sign_release(options: argparse.Namespace) -> int:
    """Make a release of wheels: a manifest and one more signature, beside them."""
    folder: Path = options.dir
    seed = load_seed(options.release_key)
    manifest_path, path = folder / MANIFEST, folder / SIGNATURES
    if not manifest_path.exists():
        release = _release_of(folder, options.release_version)
        write_durably(manifest_path, make_manifest(release))
    manifest = manifest_path.read_bytes()
    line = f"{public_key(seed).hex()} {sign(seed, TAG, NO_NETWORK, manifest).hex()}"
    lines = path.read_text().splitlines() if path.exists() else []
    others = [known for known in lines if known != line]
    write_durably(path, "\n".join([*others, line, ""]).encode())
    rows = {"manifest": str(manifest_path), "key": public_key(seed).hex()}
    show(options, rows, f"signed    {manifest_path}\nkey       {rows['key']}")
    return EXIT_OK


def _release_of(folder: Path, version: str) -> Release:
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise UserError("--dir", f"{folder} holds no wheel", "put the release's wheels there")
    found = version or next(
        (path.name.split("-")[1] for path in wheels if path.name.startswith("wavecomb-")), ""
    )
    if not found:
        raise UserError("--version", "no wheel of ours names one", "give --version")
    files = []
    for path in wheels:
        data = path.read_bytes()
        files.append(ReleaseFile(path.name, len(data), sha256(data).digest()))
    return Release(found, time.time_ns() // 1_000_000, tuple(files))
