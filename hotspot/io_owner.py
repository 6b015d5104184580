"""The owner's verbs beside init and run: info, top, doctor, beacon, neighbours, earnings and more.

Each prints text or, with --json, one line of JSON. Exit codes: 0 good, 1 something is wrong with
the hotspot, 2 wrong use. None of them changes anything but `config import-uci` and `bundle`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient, LedgerRefused
from chain.io_keys import load_seed
from chain.io_terminal import print_json
from chain.keys import public_key
from hotspot.config import HotspotConfig, parse_config
from hotspot.doctor import (
    BAD,
    GOOD,
    STALE_S,
    Finding,
    judge_clock,
    judge_daemon,
    judge_disk,
    judge_queue,
    judge_radio,
    judge_views,
)
from hotspot.radio.io_probe import pick_codec, run_test
from hotspot.radio.probe import RadioTest
from hotspot.screen import age_text, credits_text, metrics_text, terminal_lines
from hotspot.services import LINUX_FOLDER, OPENWRT_FOLDER, procd_script, systemd_unit
from hotspot.uci import format_uci, uci_to_toml

TEST_FRAMES = 3
STATUS_KEYS = {"at_ms", "index", "radio", "epoch", "counts", "queue", "faults", "heard", "state"}
CLEAR = "\x1b[H\x1b[J"


def read_status(config: HotspotConfig, base: Path) -> tuple[dict[str, Any], int]:
    """(status, its age in seconds); UserError where the daemon has left none."""
    path = base / config.hotspot.status_file
    remedy = f"start the daemon: wavecomb hotspot run --config {base / 'hotspot.toml'}"
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(status, dict) and status.keys() >= STATUS_KEYS
        if not known or type(status["at_ms"]) is not int:
            raise ValueError(path)
    except OSError as error:
        said = f"{path}: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            said = f"no {path}: no daemon has run with these settings yet"
        raise UserError("status_file", said, remedy, exit_code=EXIT_FAILED) from error
    except ValueError as error:
        said = f"{path} is no status of a daemon"
        raise UserError("status_file", said, remedy, exit_code=EXIT_FAILED) from error
    return status, time.time_ns() // 1_000_000_000 - int(status["at_ms"]) // 1000


def is_well(status: dict[str, Any], age_s: int) -> bool:
    """Whether a daemon runs, says so, and has no faults."""
    ended = "stopped" in status or "ended" in status
    return age_s <= STALE_S and not status["faults"] and not ended


def status(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """What the daemon last said of itself; exit code 1 if that is stale or it has faults."""
    report, age_s = read_status(config, base)
    if options.json:
        print_json({**report, "age_s": age_s})
    else:
        if age_s > STALE_S and "ended" not in report:
            print(f"stale: said {age_text(age_s)} ago; is the daemon running?")
        width = shutil.get_terminal_size((120, 24)).columns
        print("\n".join(terminal_lines(report, age_s, max(80, width))))
    return EXIT_OK if is_well(report, age_s) else EXIT_FAILED


def info(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Say what this hotspot is: keys, place, radio, versions, files."""
    from wavecomb import __version__

    spot = config.hotspot
    rows = {
        "version": __version__,
        "python": sys.version.split()[0],
        "key": public_key(load_seed(base / spot.key_file)).hex(),
        "owner": public_key(load_seed(base / spot.owner_key_file)).hex(),
        "cell": spot.cell,
        "place": f"{spot.latitude_udeg / 1e6:.6f}, {spot.longitude_udeg / 1e6:.6f}",
        "height_m": spot.height_m,
        "eirp_dbm": spot.eirp_cdbm / 100,
        "radio": f"{config.radio.kind}:{config.radio.interface}",
        "frequency_mhz": config.radio.frequency_mhz,
        "ledger": config.ledger.url,
        "page": f"http://{spot.page}/" if spot.page else "none",
        "folder": str(base.resolve()),
    }
    _show(options, rows)
    return EXIT_OK


def top(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Show the status again and again until Ctrl-C, or `--count` times."""
    shown = 0
    while True:
        status, age_s = read_status(config, base)
        if options.json:
            print_json({**status, "age_s": age_s})
        else:
            width = shutil.get_terminal_size((80, 24)).columns
            clear = CLEAR if sys.stdout.isatty() else ""
            print(clear + "\n".join(terminal_lines(status, age_s, width)), flush=True)
        shown += 1
        if options.count and shown >= options.count:
            return EXIT_OK if is_well(status, age_s) else EXIT_FAILED
        time.sleep(options.every)


def neighbours(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """List the hotspots that are heard, the strongest first; exit code 1 for none."""
    status, age_s = read_status(config, base)
    rows = list(status["heard"].values())
    if options.json:
        print_json({"age_s": age_s, "neighbours": rows})
    else:
        for row in rows:
            level = "no level" if row["rssi_dbm"] is None else f"{row['rssi_dbm']} dBm"
            print(f"hotspot {row['index']:<8} {level:<10} {age_text(row['age_s'] + age_s)} ago")
        print(f"{len(rows)} neighbours; said {age_text(age_s)} ago")
    return EXIT_OK if rows else EXIT_FAILED


def metrics(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Print the status for Prometheus, e.g. for the textfile collector of node_exporter."""
    status, age_s = read_status(config, base)
    if "stopped" in status:
        said = f"it could not start: {status['stopped']}"
        raise UserError("daemon", said, "mend that, then start it", exit_code=EXIT_FAILED)
    text = metrics_text(status) + (
        "# TYPE wavecomb_hotspot_status_age_seconds gauge\n"
        f"wavecomb_hotspot_status_age_seconds {age_s}\n"
    )
    if options.json:
        rows = [line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#"]
        print_json({name: float(value) for name, value in rows})
    else:
        print(text, end="")
    return EXIT_OK


def earnings(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Ask the ledger what this hotspot earned and why; with the last known where it is away."""
    said = _ask_ledger(config, base)
    if said is None:
        status, age_s = read_status(config, base)
        ledger = dict(status.get("ledger") or {})
        if ledger.get("age_s") is None:
            problem = f"{config.ledger.url} doesn't answer, and never did"
            remedy = "check the connection or ledger.url"
            raise UserError("ledger.url", problem, remedy, exit_code=EXIT_FAILED)
        said = {**ledger, "age_s": ledger["age_s"] + age_s}
    if options.json:
        print_json(said)
        return EXIT_OK
    print(f"said      {age_text(said['age_s'])} ago")
    for name, field in (("earned", "earned_ucr"), ("account", "balance_ucr"), ("bond", "bond_ucr")):
        print(f"{name:<10}{credits_text(said[field])} credits")
    if said["index"] is None:
        print("why       the ledger doesn't know this hotspot yet; the daemon registers it")
        return EXIT_OK
    why = said["why"] or {}
    if not (why.get("as_beaconer", {}).get("beacons") or why.get("payments")):
        print("why       no beacon has been judged yet: that takes two epochs, pay a settlement")
    for verdict, count in why.get("as_beaconer", {}).get("beacons", {}).items():
        print(f"beacons   {count} {verdict}")
    for reason, count in why.get("as_witness", {}).items():
        print(f"reports   {count} {reason}")
    for row in why.get("payments", []):
        amount = credits_text(row["amount_ucr"])
        print(f"paid      {amount} for {row['kind']}, epoch {row['epoch']}")
    return EXIT_OK


def _ask_ledger(config: HotspotConfig, base: Path) -> dict[str, Any] | None:
    """What the ledger says now; None while it is away."""
    key = public_key(load_seed(base / config.hotspot.key_file))
    owner = public_key(load_seed(base / config.hotspot.owner_key_file))
    try:
        with LedgerClient(config.ledger.url) as client:
            spot, head = client.hotspot(key), client.head()
            return {
                "url": config.ledger.url,
                "age_s": 0,
                "epoch": head.epoch,
                "start_ms": head.start_ms,
                "epoch_ms": head.epoch_ms,
                "index": spot.index if spot else None,
                "earned_ucr": spot.earned_ucr if spot else None,
                "bond_ucr": spot.bond_ucr if spot else None,
                "trust_ppm": spot.trust_ppm if spot else None,
                "last_epoch": spot.last_epoch if spot else None,
                "balance_ucr": client.account(owner).balance_ucr,
                "why": client.find(f"/v1/explain/{spot.index}") if spot else None,
            }
    except (OSError, LedgerRefused):
        return None


# --- doctor ---------------------------------------------------------------------------------------


def doctor(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Look at everything and say what to do; exit code 1 where something is bad."""
    try:
        status, age_s = read_status(config, base)
        found = judge_daemon(status, age_s)
    except UserError:
        status = None
        found = judge_daemon(None, None)
    found.append(judge_disk(shutil.disk_usage(base).free >> 20))
    queue_path = base / config.hotspot.queue
    found += judge_queue(queue_path.with_name(f"{queue_path.name}.damaged").exists())
    found += _check_ledger(config, base, status)
    if options.radio:
        found.append(_test_radio(options, config, base))
    if options.json:
        print_json({"findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            todo = f"; to do: {finding.remedy}" if finding.remedy else ""
            print(f"{finding.verdict:<6} {finding.name:<12} {finding.seen}{todo}")
    return EXIT_FAILED if any(finding.verdict == BAD for finding in found) else EXIT_OK


def _check_ledger(
    config: HotspotConfig, base: Path, status: dict[str, Any] | None
) -> list[Finding]:
    from hotspot.io_system import is_synchronised

    said = _ask_ledger(config, base)
    if said is None:
        remedy = "check the internet connection and ledger.url; the hotspot itself may be fine"
        bad = Finding("ledger", BAD, f"{config.ledger.url} doesn't answer", remedy)
        return [bad, judge_clock(is_synchronised(), None)]
    own = max(0, time.time_ns() // 1_000_000 - said["start_ms"]) // said["epoch_ms"]
    found = [
        Finding("ledger", GOOD, f"answers; epoch {said['epoch']}"),
        judge_clock(is_synchronised(), said["epoch"] - own),
    ]
    if said["index"] is None:
        remedy = "let the daemon run; it registers itself"
        return [*found, Finding("registration", BAD, "the ledger doesn't know us", remedy)]
    why = (said["why"] or {}).get("as_beaconer", {})
    return [*found, judge_views(status, said["epoch"], said["last_epoch"], why)]


def _test_radio(options: argparse.Namespace, config: HotspotConfig, base: Path) -> Finding:
    try:
        test = run_test(config, base, TEST_FRAMES, pick_codec(options.codec))
    except UserError as error:
        return Finding("radio", BAD, f"{error.field}: {error.problem}", error.remedy)
    return judge_radio(test, _known_peers(config, test))


def _known_peers(config: HotspotConfig, test: RadioTest) -> dict[bytes, int] | None:
    """Ledger indexes of those who confirmed; None while the ledger is away."""
    try:
        with LedgerClient(config.ledger.url) as client:
            found = {key: client.hotspot(key) for key in test.peers}
    except (OSError, LedgerRefused):
        return None
    return {key: spot.index for key, spot in found.items() if spot is not None}


def beacon(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Send test frames that no neighbour counts, and say what came back; 1 if any was refused."""
    test = run_test(config, base, options.count, pick_codec(options.codec))
    rows = {
        "sent": test.sent,
        "refused": test.refused,
        "echoed": test.echoed,
        "confirmed": len(test.confirmed),
        "peers": [key.hex() for key in test.peers],
    }
    _show(options, rows)
    return EXIT_FAILED if test.refused else EXIT_OK


# --- settings, services, bundle -------------------------------------------------------------------


def show_config(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Print the settings in force, or as UCI, or what starts the daemon at boot."""
    del base
    if options.action == "export-uci":
        text = format_uci(config)
        print_json({"uci": text}) if options.json else print(text, end="")
    elif options.json:
        print_json(asdict(config))
    else:
        for section, table in asdict(config).items():
            for name, value in table.items():
                print(f"{section}.{name} = {value}")
    return EXIT_OK


def import_uci(options: argparse.Namespace) -> int:
    """Write settings from a UCI file."""
    try:
        text = options.uci.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("--uci", f"{options.uci}: {error}", "name a UCI file") from error
    made = uci_to_toml(text, str(options.uci))
    parse_config(made, str(options.uci))
    if options.config.exists() and not options.force:
        raise UserError("--config", f"{options.config} exists", "add --force to replace it")
    draft = options.config.with_suffix(".draft")
    draft.write_text(made, encoding="utf-8")
    draft.replace(options.config)
    print_json({"config": str(options.config)}) if options.json else print(options.config)
    return EXIT_OK


def service(options: argparse.Namespace) -> int:
    """Print a systemd unit, or procd's script for OpenWrt."""
    program = options.command or shutil.which("wavecomb") or "/usr/bin/wavecomb"
    if options.system == "systemd":
        folder = options.folder or LINUX_FOLDER
        text = systemd_unit(program, folder, options.user, options.start or "")
    else:
        text = procd_script(program, options.folder or OPENWRT_FOLDER)
    print_json({"text": text}) if options.json else print(text, end="")
    return EXIT_OK


def bundle(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Pack what a helper needs to see, and no secret: settings, status, counts, versions."""
    from hotspot.io_queue import DurableQueue

    files: dict[str, Callable[[], Any]] = {
        "settings.json": lambda: asdict(config),
        "status.json": lambda: read_status(config, base)[0],
        "ledger.json": lambda: _ask_ledger(config, base),
        "machine.json": lambda: {"python": sys.version, "uname": list(os.uname())},
    }
    queue_path = base / config.hotspot.queue
    if queue_path.exists():
        files["queue.json"] = lambda: asdict(DurableQueue(queue_path).counts())
        files["moments.json"] = lambda: DurableQueue(queue_path).moments()[-100:]
    secrets = {getattr(config.hotspot, name) for name in ("key_file", "owner_key_file")}
    with tarfile.open(options.out, "w:gz") as archive:
        for name, make in files.items():
            _add(archive, name, make)
    rows = {"bundle": str(options.out), "files": sorted(files), "left_out": sorted(secrets)}
    _show(options, rows)
    return EXIT_OK


def _add(archive: tarfile.TarFile, name: str, make: Callable[[], Any]) -> None:
    try:
        value = make()
    except UserError as error:  # what is missing is news, too
        value = {"missing": str(error)}
    data = json.dumps(value, indent=1, sort_keys=True).encode()
    entry = tarfile.TarInfo(f"wavecomb-bundle/{name}")
    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(data))


def _show(options: argparse.Namespace, rows: dict[str, Any]) -> None:
    if options.json:
        print_json(rows)
    else:
        for name, value in rows.items():
            text = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            print(f"{name:<14} {text}")


