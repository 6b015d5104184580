"""`wavecomb hotspot netd`: run it, show what it holds, clear what it left, install it."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, add_command, print_json, run_command
from hotspot.netd.io_client import SOCKET, NetdClient
from hotspot.netd.links import FAST_MS, INTERVAL_MAX_MS, INTERVAL_MIN_MS
from hotspot.netd.plans import Settings
from hotspot.netd.service import systemd_unit
from routing.kernel.desired import Place
from routing.kernel.nodeplan import MULTIPATH, check_device

EXAMPLES = """
  wavecomb hotspot netd run --mesh mesh0 --access ap0 --user wavecomb
  wavecomb hotspot netd run --mesh mesh0 --mesh mesh1 --secret-file mesh.secret
  wavecomb hotspot netd show
  wavecomb hotspot netd show --json
  wavecomb hotspot netd clear
  wavecomb hotspot netd service --mesh mesh0 --access ap0 --user wavecomb
"""
SECRET_MIN_BYTES = 16
NICE = -15


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from hotspot.netd.io_kernel import Kernel
    from hotspot.netd.io_main import Daemon
    from hotspot.netd.io_privileges import has_net_admin, keep_only_net_admin

    if not has_net_admin():
        remedy = "run as root, or grant CAP_NET_ADMIN (AmbientCapabilities=CAP_NET_ADMIN)"
        said = "no right to change the network"
        raise UserError("netd", said, remedy, exit_code=EXIT_FAILED)
    settings = _settings(options)
    kernel = Kernel()
    if not kernel.has_segments:
        settings = Settings(settings.place, settings.hello_ms, settings.secret, MULTIPATH)
    with contextlib.suppress(OSError):  # hellos that are late look like a death
        os.nice(NICE)
    daemon = Daemon(settings, options.socket, options.user, kernel)
    keep_only_net_admin()  # before anybody can call
    daemon.open()
    try:
        failed = daemon.prepare()
        if failed:
            sys.stderr.write(f"netd: could not set {', '.join(failed)}\n")
        _announce(options, settings)
        daemon.run()
    finally:
        daemon.close()
    return EXIT_OK


def _settings(options: argparse.Namespace) -> Settings:
    mesh = tuple(dict.fromkeys(check_device(d, "--mesh") for d in options.mesh))
    access = tuple(dict.fromkeys(check_device(d, "--access") for d in options.access))
    if both := set(mesh) & set(access):
        raise UserError("--access", f"{min(both)} is of the mesh", "name it once")
    if not INTERVAL_MIN_MS <= options.hello_ms <= INTERVAL_MAX_MS:
        allowed = f"give {INTERVAL_MIN_MS} to {INTERVAL_MAX_MS}"
        raise UserError("--hello-ms", f"{options.hello_ms} ms", allowed)
    secret = _read_secret(options.secret_file) if options.secret_file else b""
    return Settings(Place(mesh, access), options.hello_ms, secret)


def _read_secret(path: Path) -> bytes:
    secret = path.read_bytes().strip()
    if len(secret) < SECRET_MIN_BYTES:
        remedy = f"write {SECRET_MIN_BYTES} bytes or more: head -c 24 /dev/urandom | base64 > FILE"
        raise UserError("--secret-file", f"{path} holds {len(secret)} bytes", remedy)
    return secret


def _announce(options: argparse.Namespace, settings: Settings) -> None:
    rows = {
        "socket": str(options.socket),
        "mesh": list(settings.place.mesh),
        "access": list(settings.place.access),
        "segments": not settings.fixed_mode,
        "authenticated": bool(settings.secret),
    }
    if options.json:
        print_json(rows)
        return
    print(f"socket    {options.socket}")
    print(f"mesh      {', '.join(settings.place.mesh)}")
    print(f"access    {', '.join(settings.place.access) or 'none'}")
    steering = "weighted next hops" if settings.fixed_mode else "segment lists, weighted next hops"
    print(f"steering  {steering}")
    print(f"neighbours {'must know the secret' if settings.secret else 'are believed'}", flush=True)


def show(options: argparse.Namespace) -> int:
    """Print what netd holds; exit code 1 where it has no plan or something failed."""
    client = NetdClient(options.socket)
    status = client.read("status")["status"]
    kernel = client.read("kernel")["kernel"]
    links = client.read("links")["links"]
    devices = client.read("devices")["devices"]
    client.close()
    if options.json:
        print_json({**status, "kernel": kernel, "links": links, "devices": devices})
    else:
        _print_status(status, kernel)
        _print_links(links, devices)
    return EXIT_FAILED if status["version"] is None or status["last"]["error"] else EXIT_OK


def _print_status(status: dict[str, Any], kernel: dict[str, Any]) -> None:
    if status["version"] is None:
        print("plan      none: the base mesh protocol alone decides")
    else:
        left = f"{status['lease_left_ms'] / 1000:.0f} s left"
        print(f"plan      version {status['version']}, {status['mode']}, {left}")
    for row in status["neighbours"]:
        loss = f"{row['loss_permille'] / 10:g} % lost"
        print(f"neighbour {row['node']} on {row['device']}, {loss}, heard {row['heard_ms']} ms ago")
    if not status["neighbours"]:
        print("neighbour none")
    counted = {name: len(kernel[name]) for name in ("routes", "rules", "addresses", "shaping")}
    print("kernel    " + ", ".join(f"{count} {name}" for name, count in counted.items()))
    if status["last"]["error"]:
        print(f"failed    {status['last']['error']}")


def _print_links(links: dict[str, Any], devices: dict[str, Any]) -> None:
    for name, row in sorted(links.items()):
        print(f"link      {name}: {row['tx_bytes']} bytes sent, {row['rx_bytes']} received")
        for kind, of in row.get("classes", {}).items():
            print(f"class     {name} {kind}: {of['bytes']} bytes, {of['drops']} dropped")
    for mac, row in sorted(devices.items()):
        print(f"device    {mac}: {row['up_bytes']} bytes up, {row['down_bytes']} down")


def clear(options: argparse.Namespace) -> int:
    """Take away all that netd put into the kernel: through it, or directly where it's not there."""
    try:
        with_netd = NetdClient(options.socket)
        with_netd.apply(None)
        with_netd.close()
        rows: dict[str, Any] = {"through": "netd"}
    except UserError as error:
        if error.field != "netd":
            raise
        rows = {"through": "kernel", "removed": _clear_directly()}
    if options.json:
        print_json(rows)
    else:
        print(f"cleared through {rows['through']}")
    return EXIT_OK


def _clear_directly() -> int:
    from hotspot.netd.io_kernel import Kernel
    from hotspot.netd.io_privileges import has_net_admin
    from routing.kernel.state import KernelState, compute_operations

    if not has_net_admin():
        remedy = "run as root"
        raise UserError("netd", "isn't running, and we may not change the network", remedy,
                        exit_code=EXIT_FAILED)  # fmt: skip
    kernel = Kernel()
    try:
        operations = compute_operations(kernel.read(("any",)), KernelState())
        for operation in operations:
            kernel.carry_out(operation)
    finally:
        kernel.close()
    return len(operations)


def service(options: argparse.Namespace) -> int:
    """Print a systemd unit for netd."""
    program = options.command or shutil.which("wavecomb") or "/usr/bin/wavecomb"
    text = systemd_unit(program, _settings(options).place, options.user)
    print_json({"text": text}) if options.json else print(text, end="")
    return EXIT_OK


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb hotspot netd",
        description="The one process that may change routes, queues and transmit power.",
        examples=EXAMPLES,
    )
    verbs = parser.add_commands("verb")
    for verb, function, text in (
        ("run", run, "serve plans and radio commands until told to stop (CAP_NET_ADMIN)"),
        ("show", show, "show plan, neighbours, counters; exit code 1 without a plan"),
        ("clear", clear, "take away all that netd put into the kernel"),
        ("service", service, "print a systemd unit that starts it"),
    ):
        sub = add_command(verbs, verb, text)
        sub.add_argument("--json", action="store_true", help="print one line of JSON")
        sub.set_defaults(function=function)
        if verb != "service":
            where = "its Unix socket (default: %(default)s)"
            sub.add_argument("--socket", type=Path, default=SOCKET, metavar="PATH", help=where)
        if verb in ("run", "service"):
            _add_settings(sub)
        if verb == "service":
            sub.add_argument("--command", metavar="PATH", help="the program (default: where it is)")
    return parser


def _add_settings(sub: argparse.ArgumentParser) -> None:
    for name, metavar, text in (
        ("--mesh", "DEVICE", "a device to other hotspots; may be given again"),
        ("--access", "DEVICE", "a device to people's devices, to be counted; may be given again"),
        ("--user", "NAME", "a user who may call, besides root and ourselves; may be given again"),
    ):
        needed = name == "--mesh"
        sub.add_argument(
            name, action="append", default=[], metavar=metavar, required=needed, help=text
        )
    often = "how often neighbours hear of us under a plan (default: %(default)s)"
    sub.add_argument("--hello-ms", type=int, default=FAST_MS, metavar="MS", help=often)
    shared = "a secret that all hotspots of the mesh share; others aren't heard"
    sub.add_argument("--secret-file", type=Path, metavar="FILE", help=shared)


def main(argv: Sequence[str]) -> int:
    """`wavecomb hotspot netd`."""
    options = _parser().parse_args(argv)
    return int(options.function(options))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(run_command(main, sys.argv[1:]))
