"""`wavecomb hotspot survey`: how busy the channels are, who is connected, how much power leaves.

Read through nl80211, which needs no right to read.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import print_json
from hotspot.carriers.io_nl80211 import Wireless
from hotspot.carriers.nl80211 import Station, Survey


def survey(options: argparse.Namespace) -> int:
    """Show what the driver counts; exit code 1 where it counts nothing."""
    said = look(options.interface)
    if options.json:
        print_json(said)
    else:
        print("\n".join(lines_of(said)))
    return EXIT_OK if said["channels"] or said["stations"] else EXIT_FAILED


def look(interface: str) -> dict[str, Any]:
    """Everything that nl80211 says of an interface. UserError where that is nothing."""
    wireless = Wireless(interface)
    try:
        found = wireless.describe()
        channels, stations = wireless.survey(), wireless.stations()
    except OSError as error:
        said = f"{interface}: {error.strerror}"
        remedy = "see docs/hardware.md: not every driver counts"
        raise UserError("--interface", said, remedy, exit_code=EXIT_FAILED) from error
    finally:
        wireless.close()
    return {
        "interface": interface,
        "frequency_mhz": found.frequency_mhz,
        "power_dbm": None if found.power_cdbm is None else found.power_cdbm / 100,
        "channels": [channel_row(row) for row in channels],
        "stations": [station_row(row) for row in stations],
    }


def channel_row(row: Survey) -> dict[str, Any]:
    """A channel's counts, with the share of time that it was busy, in percent."""
    active, busy = row.active_ms, row.busy_ms
    percent = round(100 * busy / active, 1) if active and busy is not None else None
    return {**asdict(row), "busy_percent": percent}


def station_row(row: Station) -> dict[str, Any]:
    """A peer's counts, its address as people write it."""
    return {**asdict(row), "mac": row.mac.hex(":")}


def lines_of(said: dict[str, Any]) -> list[str]:
    """The same for people."""
    lines = [f"interface  {said['interface']} on {said['frequency_mhz']} MHz, "
             f"{said['power_dbm']} dBm"]  # fmt: skip
    for row in said["channels"]:
        mark = "in use" if row["in_use"] else ""
        lines.append(
            f"channel    {row['frequency_mhz']} MHz  busy {row['busy_percent']} %  "
            f"noise {row['noise_dbm']} dBm  {mark}".rstrip()
        )
    lines += [
        f"station    {row['mac']}  {row['signal_dbm']} dBm  {row['transmit_kbps']} kb/s  "
        f"{row['transmit_retries']} retries, {row['transmit_failed']} failed"
        for row in said["stations"]
    ]
    return lines
