"""`wavecomb hotspot gateway`: joins OpenAI clients, the overlay, the ledger and models."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, print_json, run_command
from hotspot.gateway.config import SAMPLE, GatewayConfig, parse_gateway_config
from hotspot.gateway.io_http import Front
from hotspot.gateway.io_node import Gateway

EXAMPLES = """
  wavecomb hotspot gateway --sample > gateway.toml
  wavecomb hotspot gateway --config gateway.toml
"""


def load_gateway_config(path: Path) -> GatewayConfig:
    """Settings of a file; UserError names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        remedy = "see: wavecomb hotspot gateway --sample"
        raise UserError("--config", f"{path} is no UTF-8 text", remedy) from error
    except OSError as error:
        remedy = "write one: wavecomb hotspot gateway --sample"
        raise UserError("--config", f"{path}: {error.strerror}", remedy) from error
    return parse_gateway_config(text, str(path))


async def run_gateway(config: GatewayConfig, base: Path, *, as_json: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = Gateway(config, base)
    front = Front(gateway)  # its keys are read before anybody waits for the ledger
    starting = asyncio.ensure_future(gateway.start())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return
    starting.result()
    await front.open()
    _announce(gateway, front.url, as_json=as_json)
    await stopped
    await front.close()
    await gateway.stop()


def _announce(gateway: Gateway, url: str, *, as_json: bool) -> None:
    link = f"{gateway.link_address[0]}:{gateway.link_address[1]}"
    key_file = gateway.base / gateway.config.gateway.api_key_file
    if as_json:
        rows = {"url": url, "link": link, "index": gateway.index, "key_file": str(key_file)}
        print_json(rows)
        return
    print(f"address   {url}\nkey       in {key_file}\nhotspot   {gateway.index}", flush=True)


def main(argv: Sequence[str]) -> int:
    """`wavecomb hotspot gateway`."""
    parser = Parser(
        prog="wavecomb hotspot gateway",
        description="Serve an OpenAI-compatible address whose models answer across the network.",
        examples=EXAMPLES,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML)")
    parser.add_argument("--sample", action="store_true", help="print commented sample settings")
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")
    options = parser.parse_args(argv)
    if options.sample:
        print(SAMPLE, end="")
        return EXIT_OK
    if options.config is None:
        parser.error("--config FILE is needed (or --sample)")
    config = load_gateway_config(options.config)
    asyncio.run(run_gateway(config, options.config.parent, as_json=options.json))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
