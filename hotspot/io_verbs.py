"""The verbs of `wavecomb hotspot`: each is a function that takes parsed options."""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, add_command, print_json
from hotspot.carriers.spec import HELP as RADIOS
from hotspot.carriers.spec import parse_spec
from hotspot.config import (
    CODECS,
    SAMPLE,
    HotspotConfig,
    LedgerSection,
    check_config,
    parse_config,
    use_radio,
)

EXAMPLES = """
  wavecomb hotspot init --dir ~/hotspot --lat 40.7128 --lon -74.0060
  wavecomb hotspot init --dir ~/hotspot --lat 40.7128 --lon -74.0060 --radio nl80211:wlan0
  wavecomb hotspot run --config ~/hotspot/hotspot.toml
  wavecomb hotspot run --config ~/hotspot/hotspot.toml --radio nl80211:wlan0 --codec scapy
  wavecomb hotspot status --config ~/hotspot/hotspot.toml --json
  wavecomb hotspot key --config ~/hotspot/hotspot.toml
  wavecomb hotspot key backup --config ~/hotspot/hotspot.toml
  wavecomb hotspot key restore --config ~/hotspot/hotspot.toml --which owner --file paper.txt
  wavecomb hotspot key rotate --config ~/hotspot/hotspot.toml --which hotspot
  wavecomb hotspot key rotate --config ~/hotspot/hotspot.toml --which hotspot --lost
  wavecomb hotspot queue --config ~/hotspot/hotspot.toml
  wavecomb hotspot register --config ~/hotspot/hotspot.toml
  wavecomb hotspot register --config ~/hotspot/hotspot.toml --owner KEYHEX --out sale.json
  wavecomb hotspot gateway --config ~/hotspot/gateway.toml
  wavecomb hotspot netd show
  wavecomb hotspot listen --interface mon0 --seconds 30
  wavecomb hotspot listen --radio nl80211:wlan0 --codec fast --json
  wavecomb hotspot map --ledger http://127.0.0.1:8700 --gpsd 127.0.0.1:2947 --interface mon0
  wavecomb hotspot map --ledger http://127.0.0.1:8700 --track w.gpx --capture w.pcap --csv w.csv
  wavecomb hotspot map --ledger http://127.0.0.1:8700 --finish
  wavecomb hotspot config sample
  wavecomb hotspot config check --config ~/hotspot/hotspot.toml
  wavecomb hotspot config import-uci --uci /etc/config/wavecomb --config /etc/wavecomb/hotspot.toml
  wavecomb hotspot info --config ~/hotspot/hotspot.toml
  wavecomb hotspot top --config ~/hotspot/hotspot.toml
  wavecomb hotspot doctor --config ~/hotspot/hotspot.toml --radio
  wavecomb hotspot beacon --config ~/hotspot/hotspot.toml --count 3
  wavecomb hotspot neighbours --config ~/hotspot/hotspot.toml
  wavecomb hotspot earnings --config ~/hotspot/hotspot.toml
  wavecomb hotspot metrics --config ~/hotspot/hotspot.toml
  wavecomb hotspot bundle --config ~/hotspot/hotspot.toml --out helper.tar.gz
  wavecomb hotspot service systemd --user wavecomb
  wavecomb hotspot survey --interface wlan0
  wavecomb hotspot update check --root /var/lib/wavecomb/app --from https://releases.example/hotspot
  wavecomb hotspot update apply --from /mnt/usb/release --restart 'systemctl restart wavecomb'
  wavecomb hotspot update rollback --root /var/lib/wavecomb/app
"""


def load_config(path: Path) -> HotspotConfig:
    """Settings of a file; UserError names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        remedy = "see: wavecomb hotspot config sample"
        raise UserError("--config", f"{path} is no UTF-8 text", remedy) from error
    except OSError as error:
        remedy = "name a file, or run: wavecomb hotspot init --dir DIR --lat LAT --lon LON"
        raise UserError("--config", f"{path}: {error.strerror}", remedy) from error
    return parse_config(text, str(path))


def init(options: argparse.Namespace) -> int:
    """Write a folder with settings and keys for a new hotspot."""
    from chain.io_keys import load_or_create_seed
    from chain.keys import public_key
    from hotspot.hexagon import cell_at, centre_of

    if not -90 <= options.lat <= 90 or not -180 <= options.lon <= 180:
        raise UserError(
            "--lat/--lon",
            f"{options.lat}, {options.lon} is not on Earth",
            "give degrees, north and east positive",
        )
    spec = parse_spec(options.radio or f"monitor:{options.interface}", "--radio")
    folder: Path = options.dir
    path = folder / "hotspot.toml"
    if path.exists():
        raise UserError("--dir", f"{path} exists", "edit it, or choose another folder")
    cell = f"{cell_at(options.lat, options.lon, options.resolution):x}"
    latitude, longitude = centre_of(options.lat, options.lon, options.resolution)
    values = {
        "cell": f'"{cell}"',
        "latitude_udeg": round(latitude * 1e6),
        "longitude_udeg": round(longitude * 1e6),
        "height_m": options.height,
        "kind": f'"{spec.kind}"',
        "interface": json.dumps(spec.target),
        "url": f'"{options.ledger}"',
    }
    text = _filled(SAMPLE, values)
    parse_config(text, "hotspot.toml")  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    keys = {
        name: public_key(load_or_create_seed(folder / f"{name}.key")).hex()
        for name in ("hotspot", "owner")
    }
    _write_whole(path, text)
    if options.json:
        print_json({"config": str(path), "cell": cell, **keys})
    else:
        print(f"settings  {path}")
        print(f"cell      {cell} (resolution {options.resolution}: that precise you are seen)")
        print(f"hotspot   {keys['hotspot']}")
        print(f"owner     {keys['owner']}")
        print(f"next      wavecomb hotspot key backup --config {path}")
        print(f"then      wavecomb hotspot run --config {path}")
    return EXIT_OK


def _write_whole(path: Path, text: str) -> None:
    """Write a file, or leave none where the disk is full."""
    draft = path.with_suffix(".draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _filled(sample: str, values: dict[str, object]) -> str:
    lines = []
    for line in sample.splitlines():
        name = line.split("=")[0].strip()
        lines.append(f"{name} = {values[name]}" if "=" in line and name in values else line)
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    from hotspot.io_daemon import Daemon

    config = load_config(options.config)
    radio = config.radio
    if options.radio:
        radio = use_radio(radio, options.radio, "--radio")
    config = replace(config, radio=replace(radio, codec=options.codec or radio.codec))
    check_config(config)
    key_file = str((options.config.parent / config.hotspot.key_file).resolve())
    config = replace(config, hotspot=replace(config.hotspot, key_file=key_file))
    Daemon(config, options.config.parent).run()
    return EXIT_OK


def key(options: argparse.Namespace) -> int:
    """Show, back up, restore or rotate the keys of this hotspot and its owner."""
    from hotspot.io_keyring import key as carry_out

    return carry_out(options, load_config(options.config), options.config.parent)


def queue(options: argparse.Namespace) -> int:
    """How much waits for the ledger, and what was delivered, refused or dropped."""
    from dataclasses import asdict

    from hotspot.io_queue import DurableQueue

    config = load_config(options.config)
    path = options.config.parent / config.hotspot.queue
    if not path.exists():
        remedy = "start the daemon: wavecomb hotspot run"
        raise UserError("hotspot.queue", f"{path}: no such file", remedy, exit_code=EXIT_FAILED)
    rows = asdict(DurableQueue(path).counts())
    if options.json:
        print_json(rows)
    else:
        print("\n".join(f"{name:<12}{value}" for name, value in rows.items()))
    return EXIT_OK


def register(options: argparse.Namespace) -> int:
    """Assert anew what the settings say; a new owner's signature is collected by a draft."""
    from hotspot.io_register import register as carry_out

    return carry_out(options, load_config(options.config), options.config.parent)


def run_map(options: argparse.Namespace) -> int:
    """Map: sign what is heard on the way."""
    from hotspot.io_map import run as carry_out

    return carry_out(options)


def listen(options: argparse.Namespace) -> int:
    """Print beacons heard by a radio, dissected by scapy or by our own parser."""
    from hotspot.carriers.io_open import open_spec

    dissect = _dissector(options.codec)
    radio = open_spec(parse_spec(options.radio or f"monitor:{options.interface}", "--radio"))
    began_s, heard = time.monotonic(), 0
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(radio):
        while (left_s := began_s + options.seconds - time.monotonic()) > 0:
            select.select([radio], [], [], left_s)
            for frame in radio.receive():
                if (row := dissect(frame)) is not None:
                    heard += 1
                    _print_heard(options, row)
    sys.stderr.write(f"{heard} beacons in {time.monotonic() - began_s:.0f} s\n")
    return EXIT_OK if heard else EXIT_FAILED


def _dissector(codec: str | None) -> Callable[[bytes], dict[str, str | int | None] | None]:
    """The codec that was asked for; else scapy where it is installed."""
    if codec != "fast":
        try:
            from hotspot.radio.layer import dissect_line

            return dissect_line
        except ModuleNotFoundError:
            if codec is not None:
                raise
    from hotspot.radio.frame import describe_frame

    return describe_frame


def _print_heard(options: argparse.Namespace, row: dict[str, str | int | None]) -> None:
    if options.json:
        print_json(row)
    else:
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def settings(options: argparse.Namespace) -> int:
    """Print the commented sample, check or show a file, or carry it to OpenWrt and back."""
    from hotspot import io_owner

    if options.action == "sample":
        print(SAMPLE, end="")
    elif options.action == "import-uci":
        return io_owner.import_uci(options)
    elif options.action == "check":
        load_config(options.config)
        if options.json:
            print_json({"config": str(options.config), "good": True})
        else:
            print(f"{options.config}: good")
    else:
        return io_owner.show_config(options, load_config(options.config), options.config.parent)
    return EXIT_OK


def service(options: argparse.Namespace) -> int:
    """Print what starts the daemon at boot."""
    from hotspot import io_owner

    return io_owner.service(options)


def update(options: argparse.Namespace) -> int:
    """Install releases that go back by themselves where they fail."""
    from hotspot.io_update import update as carry_out

    return carry_out(options)


def survey(options: argparse.Namespace) -> int:
    """Show how busy the channels are, and who is connected."""
    from hotspot.radio.io_survey import survey as carry_out

    return carry_out(options)


def owner_verb(options: argparse.Namespace) -> int:
    """A verb of `hotspot/io_owner.py`: each takes options, settings and their folder."""
    from hotspot import io_owner

    verb = getattr(io_owner, options.verb)
    return int(verb(options, load_config(options.config), options.config.parent))


def _parser(called: str) -> Parser:
    """The verb that is called, else all of them: help shows them, and a mistake names them."""
    parser = Parser(
        prog="wavecomb hotspot",
        description="Run, inspect and repair a hotspot.",
        examples=EXAMPLES,
    )
    verbs = parser.add_commands("verb")
    for verb, (text, add_options) in VERBS.items():
        if called == verb or called not in VERBS:
            add_options(add_command(verbs, verb, text))
    return parser


def _add_run(sub: argparse.ArgumentParser) -> None:
    _add_config(sub)
    sub.add_argument("--radio", metavar="KIND:NAME", help=f"another radio: {RADIOS}")
    sub.add_argument("--codec", choices=CODECS, help="instead of the settings' radio.codec")
    sub.set_defaults(function=run)


def _add_queue(sub: argparse.ArgumentParser) -> None:
    _add_config(sub)
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=queue)


def _add_owner(sub: argparse.ArgumentParser) -> None:
    _add_config(sub)
    sub.add_argument("--json", action="store_true", help="print JSON, one line a document")
    sub.set_defaults(function=owner_verb)


def _add_top(sub: argparse.ArgumentParser) -> None:
    _add_owner(sub)
    sub.add_argument("--every", type=_seconds, default=2.0, metavar="S", help="each S seconds")
    sub.add_argument("--count", type=int, default=0, metavar="N", help="stop after N")


def _add_doctor(sub: argparse.ArgumentParser) -> None:
    _add_owner(sub)
    sub.add_argument("--radio", action="store_true", help="send three test frames as well")
    _add_codec(sub)


def _add_beacon(sub: argparse.ArgumentParser) -> None:
    _add_owner(sub)
    sub.add_argument("--count", type=_count, default=1, metavar="N", help="how many frames")
    _add_codec(sub)


def _add_bundle(sub: argparse.ArgumentParser) -> None:
    _add_owner(sub)
    out = Path("wavecomb-bundle.tar.gz")
    sub.add_argument("--out", type=Path, default=out, metavar="FILE", help="the archive")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is out of range: use more than 0 seconds")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000:
        raise argparse.ArgumentTypeError(f"{text} is out of range: use 1 to 1000")
    return value


def _add_survey(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--interface", default="wlan0", help="a wireless one (default: %(default)s)")
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=survey)


def _add_settings(sub: argparse.ArgumentParser) -> None:
    actions = ("sample", "check", "show", "export-uci", "import-uci")
    sub.add_argument("action", choices=actions, help="what to do")
    _add_config(sub)
    sub.add_argument("--json", action="store_true", help="answer in JSON")
    sub.add_argument(
        "--uci",
        type=Path,
        default=Path("/etc/config/wavecomb"),
        metavar="FILE",
        help="UCI file to import (default: %(default)s)",
    )
    sub.add_argument("--force", action="store_true", help="let import-uci replace the settings")
    sub.set_defaults(function=settings)


def _add_service(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("system", choices=("systemd", "openwrt"), help="which of the two")
    sub.add_argument("--command", metavar="PATH", help="the program (default: where it is)")
    sub.add_argument("--start", metavar="PATH", help="systemd: instead, what update adopt made")
    sub.add_argument("--folder", metavar="PATH", help="folder of settings, keys and queue")
    sub.add_argument("--user", default="wavecomb", help="who runs it (default: %(default)s)")
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=service)


def _add_key(sub: argparse.ArgumentParser) -> None:
    actions = ("show", "backup", "restore", "rotate")
    sub.add_argument("action", nargs="?", choices=actions, default="show", help="what to do")
    _add_config(sub)
    which = ("hotspot", "owner", "both")
    sub.add_argument("--which", choices=which, default="both", help="whose key (default: both)")
    sub.add_argument("--file", type=Path, metavar="FILE", help="write or read the rows there")
    lost = "rotate: the hotspot's key is gone; the owner signs alone, and it takes days"
    sub.add_argument("--lost", action="store_true", help=lost)
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=key)


def _add_update(sub: argparse.ArgumentParser) -> None:
    actions = ("adopt", "check", "apply", "watch", "status", "rollback", "sign")
    sub.add_argument("action", choices=actions, help="what to do")
    root, dist, watched = Path("/var/lib/wavecomb/app"), Path("dist"), 1_320.0
    sub.add_argument(
        "--root", type=Path, default=root, metavar="DIR", help="the releases (default: %(default)s)"
    )
    sub.add_argument("--from", dest="source", metavar="URL", help="folder, file:// or http(s)://")
    _add_config(sub)
    sub.add_argument("--key", action="append", default=[], metavar="KEYHEX", help="a release key")
    sub.add_argument("--threshold", type=int, default=1, metavar="K", help="so many must sign")
    sub.add_argument("--restart", default="", metavar="COMMAND", help="what restarts the service")
    sub.add_argument("--force", action="store_true", help="a release that failed here, once more")
    sub.add_argument("--pid", type=int, default=0, metavar="PID", help="watch: the daemon")
    sub.add_argument(
        "--within",
        type=float,
        default=watched,
        metavar="S",
        help="watch: a first beacon must come in so many seconds (default: %(default)g)",
    )
    sub.add_argument("--dir", type=Path, default=dist, metavar="DIR", help="sign: the wheels")
    sub.add_argument("--release-key", type=Path, metavar="FILE", help="sign: the key file")
    sub.add_argument("--release-version", default="", metavar="V", help="sign: instead of ours")
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=update)


def _add_register(sub: argparse.ArgumentParser) -> None:
    _add_config(sub)
    sub.add_argument("--owner", metavar="KEYHEX", help="the buyer's key (default: as configured)")
    sub.add_argument("--out", type=Path, metavar="FILE", help="write a draft for others to sign")
    sub.add_argument(
        "--new-chain",
        action="store_true",
        help="with new secrets, e.g. after a retirement; restart the daemon afterwards",
    )
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=register)


def _add_config(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--config",
        type=Path,
        default=Path("hotspot.toml"),
        metavar="FILE",
        help="settings (default: %(default)s)",
    )


def _add_codec(sub: argparse.ArgumentParser) -> None:
    text = "who reads and writes frames (default: scapy where it is installed)"
    sub.add_argument("--codec", choices=CODECS, help=text)


def _add_map(sub: argparse.ArgumentParser) -> None:
    from hotspot.io_map import add_options

    add_options(sub)
    sub.set_defaults(function=run_map)


def _add_listen(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--interface", default="mon0", help="monitor-mode interface (default: %(default)s)"
    )
    sub.add_argument("--radio", metavar="KIND:NAME", help=f"instead of --interface: {RADIOS}")
    _add_codec(sub)
    sub.add_argument(
        "--seconds", type=_seconds, default=60.0, help="how long to listen (default: %(default)g)"
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object per beacon")
    sub.set_defaults(function=listen)


def _add_init(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--dir", type=Path, default=Path("."), metavar="DIR", help="folder to write (default: here)"
    )
    sub.add_argument("--lat", type=float, required=True, help="degrees north")
    sub.add_argument("--lon", type=float, required=True, help="degrees east")
    sub.add_argument(
        "--height",
        type=int,
        default=6,
        metavar="M",
        help="antenna above ground, metres (default: %(default)s)",
    )
    sub.add_argument(
        "--resolution",
        type=int,
        choices=(7, 8, 9, 10),
        default=9,
        help="H3 resolution of the place that others see (default: %(default)s)",
    )
    sub.add_argument(
        "--interface", default="mon0", help="monitor-mode interface (default: %(default)s)"
    )
    sub.add_argument("--radio", metavar="KIND:NAME", help=f"instead of --interface: {RADIOS}")
    sub.add_argument(
        "--ledger",
        default=LedgerSection().url,
        metavar="URL",
        help="http://HOST:PORT or unix:/PATH (default: %(default)s)",
    )
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=init)


def _add_nothing(sub: argparse.ArgumentParser) -> None:
    """The gateway and netd read their own options."""


VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "init": ("write a folder with settings and keys for a new hotspot", _add_init),
    "run": ("run the daemon until it is told to stop", _add_run),
    "info": ("say what this hotspot is: keys, place, radio, versions, files", _add_owner),
    "status": ("show what the daemon last said of itself; exit code 1 for faults", _add_owner),
    "top": ("show the status again and again until Ctrl-C", _add_top),
    "doctor": ("look at everything and say what to do; exit code 1 for what is bad", _add_doctor),
    "key": ("show, back up, restore or replace this hotspot's keys", _add_key),
    "listen": ("print the beacons that a radio hears", _add_listen),
    "beacon": ("send test frames that no neighbour counts, and say what came back", _add_beacon),
    "neighbours": ("list the hotspots that are heard; exit code 1 for none", _add_owner),
    "queue": ("count what waits for the ledger, was delivered, refused or dropped", _add_queue),
    "earnings": ("ask the ledger what this hotspot earned, and why", _add_owner),
    "config": ("print, check or show settings, or carry them to OpenWrt", _add_settings),
    "update": ("install releases that go back if they fail", _add_update),
    "metrics": ("print the status for Prometheus", _add_owner),
    "bundle": ("pack what a helper needs to see, and no secret", _add_bundle),
    "service": ("print a systemd unit, or an OpenWrt init script", _add_service),
    "survey": ("show how busy channels are, who is connected, what power", _add_survey),
    "register": ("assert anew where a hotspot is, and whose", _add_register),
    "map": ("drive, listen, and be paid for what the map didn't know", _add_map),
    "gateway": ("run the AI gateway and the relay", _add_nothing),
    "netd": ("run the process that may change the network; show, clear", _add_nothing),
}


def main(argv: Sequence[str]) -> int:
    """Parse and dispatch; the gateway and netd read their own options."""
    if argv[:1] == ["gateway"]:
        from hotspot.gateway.io_main import main as gateway_main

        return gateway_main(argv[1:])
    if argv[:1] == ["netd"]:
        from hotspot.netd.io_cli import main as netd_main

        return netd_main(argv[1:])
    options = _parser(argv[0] if argv else "").parse_args(argv)
    return int(options.function(options))
