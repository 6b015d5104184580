"""`wavecomb job`: an owner's bandwidth jobs, through the gateway of this machine."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, add_command, print_json, run_command

EXAMPLES = """
  wavecomb job submit backup.tar --to 7 --deadline 10m
  wavecomb job submit map.bin --to 7 --deadline 2h --max-price 50000 --wait
  wavecomb job status
  wavecomb job status 3f1c --json
  wavecomb job pause 3f1c
  wavecomb job resume 3f1c
  wavecomb job cancel 3f1c
  wavecomb job received
  wavecomb job received 2-3f1c --output map.bin
"""
DEFAULT_GATEWAY = "http://127.0.0.1:8300"
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
POLL_S = 0.5
TIMEOUT_S = 120.0
PATIENCE_S = 60.0  # that --wait gives a gateway which is being started again


class GatewayApi:
    """The gateway's HTTP address as a client sees it; every failure is a UserError of one line."""

    def __init__(self, url: str, key_file: Path) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise UserError("--gateway", f"{url!r} is no address", f"like {DEFAULT_GATEWAY}")
        self._url, self._host, self._port = url, parts.hostname, port
        self._headers = {"Authorization": f"Bearer {_read_key(key_file)}"}

    def call(self, method: str, path: str, body: IO[bytes] | None = None) -> dict[str, Any]:
        """Return the JSON answer."""
        connection, answer = self._open(method, path, body)
        try:
            raw = answer.read()
        finally:
            connection.close()
        return self._read(answer.status, raw)

    def fetch(self, path: str, target: IO[bytes]) -> None:
        """Copy an answer's body to a file."""
        connection, answer = self._open("GET", path, None)
        try:
            if answer.status != 200:
                self._read(answer.status, answer.read())
            shutil.copyfileobj(answer, target)
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: IO[bytes] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        headers = dict(self._headers)
        if body is not None and (size := os.fstat(body.fileno()).st_size):
            headers["Content-Length"] = str(size)
        try:
            # Refused before all was sent: the answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            problem = f"no answer from {self._url} ({error or type(error).__name__})"
            remedy = "start it: wavecomb hotspot gateway --config gateway.toml"
            raise UserError("--gateway", problem, remedy, exit_code=EXIT_FAILED) from error

    def _read(self, status: int, raw: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            remedy = "is it a Wavecomb gateway?"
            raise UserError("--gateway", f"{self._url} answered {status} without JSON", remedy)
        if status in (200, 201):
            return answer
        raise _problem(status, answer)


def _problem(status: int, answer: Mapping[str, Any]) -> UserError:
    """Turn what the gateway refused into a line; refusals exit 1, mistakes 2."""
    inner = answer.get("error")
    if isinstance(inner, dict):
        return UserError("--key-file", str(inner.get("message")), "name the gateway's key file")
    detail = str(answer.get("detail", status))
    if answer.get("reason"):
        reason = str(answer["reason"])
        remedy = "see: wavecomb job status"
        return UserError(reason, detail, remedy, exit_code=EXIT_FAILED)
    field, _, rest = detail.partition(": ")
    problem, _, remedy = rest.partition("; ")
    return UserError(str(answer.get("field") or field), problem or detail, remedy or "mend it")


def _read_key(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            "--key-file", f"{path} is no text", "name the gateway's key file"
        ) from error
    except OSError as error:
        remedy = "name the gateway's gateway.key; it is made at its first run"
        raise UserError("--key-file", f"{path}: {error.strerror}", remedy) from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys or not keys[0].isascii():
        raise UserError("--key-file", f"{path} holds no key", "name the gateway's gateway.key")
    return keys[0]


def duration_s(text: str) -> int:
    """Read `90`, `90s`, `10m`, `2h` or `1d` as seconds."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS_S else (text, "s")
    if not (number.isascii() and number.isdecimal()) or int(number[:12]) == 0:
        raise UserError("--deadline", f"{text!r} is no time span", "write it like 90s, 10m or 2h")
    return int(number) * UNITS_S[unit]


# --- verbs --------------------------------------------------------------------------------------


def submit(api: GatewayApi, options: argparse.Namespace) -> int:
    """Hand a file to the gateway and print its promise."""
    fields = {"to": options.to, "deadline_s": duration_s(options.deadline)}
    if options.max_price is not None:
        fields["max_price_ucr"] = options.max_price
    path: Path = options.file
    try:
        with path.open("rb") as file:
            query = urlencode(fields | {"name": options.name or path.name})
            job = api.call("POST", f"/v1/jobs?{query}", file)
    except OSError as error:
        remedy = "name a file that can be read"
        raise UserError("FILE", f"{path}: {error.strerror or error}", remedy) from error
    if options.wait:
        job = _wait(api, job, quiet=options.json)
    _show(job, as_json=options.json)
    return EXIT_OK if job["state"] in ("running", "done") else EXIT_FAILED


def _wait(api: GatewayApi, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    bar = Progress(f"to hotspot {job['to']}", job["size_bytes"], quiet=quiet)
    answered = time.monotonic()
    while job["state"] in ("running", "paused"):
        time.sleep(POLL_S)
        try:
            job = api.call("GET", f"/v1/jobs/{job['id']}")
            answered = time.monotonic()
        except UserError as error:
            if error.field != "--gateway" or time.monotonic() > answered + PATIENCE_S:
                raise
        bar.update(job["delivered_bytes"], job["detail"] or f"{job['rate_kbps']} kbit/s")
    bar.update(job["delivered_bytes"], job["state"])
    if not quiet:
        sys.stderr.write("\n")
    return job


def status(api: GatewayApi, options: argparse.Namespace) -> int:
    """Print all jobs, or one."""
    if options.id:
        _show(_find(api, options.id), as_json=options.json)
        return EXIT_OK
    listed = api.call("GET", "/v1/jobs")
    if options.json:
        print_json(listed)
        return EXIT_OK
    for job in listed["jobs"]:
        percent = 100 * job["delivered_bytes"] // job["size_bytes"]
        print(
            f"{job['id'][:12]}  {job['state']:<9} {percent:3d} %  {job['size_bytes']:>12} B"
            f"  to {job['to']:<6} {job['rate_kbps']:>7} kbit/s  {job['spent_ucr']:>8} ucr"
            f"  {job['name']}"
        )
    if not listed["jobs"]:
        print("no jobs yet; see: wavecomb job submit --help")
    return EXIT_OK


def cancel(api: GatewayApi, options: argparse.Namespace) -> int:
    """Stop a job."""
    job = _find(api, options.id)
    _show(api.call("DELETE", f"/v1/jobs/{job['id']}"), as_json=options.json)
    return EXIT_OK


def pause(api: GatewayApi, options: argparse.Namespace) -> int:
    """Hold a job."""
    return _hold(api, options, "pause")


def resume(api: GatewayApi, options: argparse.Namespace) -> int:
    """Let a held job go on, under a new promise."""
    return _hold(api, options, "resume")


def _hold(api: GatewayApi, options: argparse.Namespace, verb: str) -> int:
    job = _find(api, options.id)
    _show(api.call("POST", f"/v1/jobs/{job['id']}/{verb}"), as_json=options.json)
    return EXIT_OK


def received(api: GatewayApi, options: argparse.Namespace) -> int:
    """Print what arrived, or fetch or remove one of the files."""
    rows = api.call("GET", "/v1/received")["received"]
    if options.id:
        row = _pick(rows, options.id, "received")
        return _fetch(api, row, options)
    if options.json:
        print_json({"received": rows})
        return EXIT_OK
    for row in rows:
        percent = 100 * row["stored_bytes"] // row["size_bytes"]
        ends = f"{row['size_bytes']:>12} B  from {row['from']:<6}"
        print(f"{row['id'][:16]}  {row['state']:<8} {percent:3d} %  {ends} {row['name']}")
    if not rows:
        print("nothing has arrived yet")
    return EXIT_OK


def _fetch(api: GatewayApi, row: Mapping[str, Any], options: argparse.Namespace) -> int:
    path = f"/v1/received/{row['id']}"
    if options.output is not None:
        try:
            with options.output.open("xb") as file:
                api.fetch(path, file)
        except FileExistsError as error:
            raise UserError("--output", f"{options.output} exists", "name another file") from error
    if options.remove:
        api.call("DELETE", path)
    if options.json:
        print_json(row)
    else:
        print("\n".join(f"{name:<14}{value}" for name, value in row.items()))
    return EXIT_OK


def _find(api: GatewayApi, start: str) -> dict[str, Any]:
    return _pick(api.call("GET", "/v1/jobs")["jobs"], start, "status")


def _pick(rows: Sequence[dict[str, Any]], start: str, verb: str) -> dict[str, Any]:
    found = [row for row in rows if row["id"].startswith(start)]
    if len(found) != 1:
        problem = f"{start!r} is the start of {len(found)} ids"
        raise UserError("ID", problem, f"see: wavecomb job {verb}", exit_code=EXIT_FAILED)
    return found[0]


def _show(job: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    now_s = time.time()
    promise = job["promise"]
    rows = [
        ("job", job["id"]),
        ("file", f"{job['name']}, {job['size_bytes']} bytes, to hotspot {job['to']}"),
        ("state", job["state"] + (f": {job['detail']}" if job["detail"] else "")),
        ("delivered", f"{job['delivered_bytes']} bytes, {job['rate_kbps']} kbit/s"),
        ("promise", f"in {_in(promise['finish_ms'], now_s)} s for {promise['price_ucr']} ucr"),
        ("path", " > ".join(map(str, job["path"] or promise["path"]))),
        ("spent", f"{job['spent_ucr']} ucr"),
    ]
    if job["state"] == "running":
        rows.append(("expected", f"in {_in(job['finish_estimate_ms'], now_s)} s"))
    if job["short_bytes"]:
        late = f"the network surely carries {job['short_bytes']} bytes less than promised in time"
        rows.append(("behind", late + "; all that is free is used"))
    print("\n".join(f"{name:<10}{value}" for name, value in rows))


def _in(time_ms: int, now_s: float) -> int:
    return max(0, round(time_ms / 1_000 - now_s))


# --- the command line ---------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb job",
        description="Carry a file to another hotspot by a deadline, and see what arrived.",
        examples=EXAMPLES,
    )
    verbs = parser.add_commands("verb")
    sub = add_command(verbs, "submit", "have a file carried to a hotspot by a deadline")
    sub.add_argument("file", type=Path, metavar="FILE", help="what to send")
    sub.add_argument("--to", required=True, metavar="HOTSPOT", help="index or key of the receiver")
    sub.add_argument(
        "--deadline", default="10m", metavar="SPAN", help="like 90s, 10m, 2h (default: %(default)s)"
    )
    sub.add_argument("--max-price", metavar="UCR", help="stop when relays have been owed this much")
    sub.add_argument("--name", help="name at the receiver (default: the file's)")
    sub.add_argument("--wait", action="store_true", help="show a bar until the job has ended")
    _add_common(sub, submit)
    sub = add_command(verbs, "status", "list jobs, or show one with its promise")
    sub.add_argument("id", nargs="?", metavar="ID", help="start of a job's id")
    _add_common(sub, status)
    sub = add_command(verbs, "cancel", "stop a job; what has arrived stays there")
    sub.add_argument("id", metavar="ID", help="start of a job's id")
    _add_common(sub, cancel)
    for name, text, function in (
        ("pause", "send no more for now; the room is free for others, the deadline stays", pause),
        ("resume", "let a paused job go on, if what is left can be promised again", resume),
    ):
        sub = add_command(verbs, name, text)
        sub.add_argument("id", metavar="ID", help="start of a job's id")
        _add_common(sub, function)
    sub = add_command(verbs, "received", "list files that arrived, fetch or remove one")
    sub.add_argument("id", nargs="?", metavar="ID", help="start of a file's id")
    sub.add_argument("--output", type=Path, metavar="FILE", help="write its bytes here")
    sub.add_argument("--remove", action="store_true", help="remove it from the gateway")
    _add_common(sub, received)
    return parser


def _add_common(sub: argparse.ArgumentParser, function: object) -> None:
    sub.add_argument(
        "--gateway", default=DEFAULT_GATEWAY, metavar="URL", help="default: %(default)s"
    )
    sub.add_argument(
        "--key-file",
        type=Path,
        default=Path("gateway.key"),
        metavar="FILE",
        help="the gateway's bearer key (default: %(default)s)",
    )
    sub.add_argument("--json", action="store_true", help="print one line of JSON")
    sub.set_defaults(function=function)


def main(argv: Sequence[str]) -> int:
    """Parse and dispatch."""
    options = _parser().parse_args(argv)
    return int(options.function(GatewayApi(options.gateway, options.key_file), options))


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
