"""The daemon's settings: one documented record, read from TOML; SAMPLE shows every key."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from chain.errors import UserError
from chain.records import Registration
from chain.wire import LAYOUT, NAMES
from hotspot.carriers.spec import KINDS, RadioSpec, check_pair, parse_spec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SAMPLE = """\
# Wavecomb hotspot settings. Every key is shown with its default; [hotspot] cell is the only one
# you must set. A radio may also be named in one line above [hotspot]: radio = "monitor:mon0"
[hotspot]
cell = ""                  # H3 cell, resolution 7 to 10: as precise as you want to be seen
latitude_udeg = 0          # centre of that cell, micro-degrees (written by `wavecomb hotspot init`)
longitude_udeg = 0
height_m = 6               # antenna above ground
gain_cdb = 200             # antenna gain, hundredths of a dB
eirp_cdbm = 2000           # radiated power at full power, hundredths of a dBm
key_file = "hotspot.key"   # 32-byte seed, mode 0600; made at first run
owner_key_file = "owner.key"  # pays the bond and receives rewards; made at first run
queue = "queue.db"         # what must not be lost while the ledger is away
status_file = "status.json"   # rewritten every five seconds
chain_length = 65536       # epochs of secrets to commit to (455 days of 10 minutes)
queue_limit_mib = 40       # of the queue; beyond it the oldest records go first, and are counted
page = "127.0.0.1:8710"    # address of the status page; "" for none, 0.0.0.0:8710 for your LAN
gateway = ""               # address of your gateway, such as 127.0.0.1:8300: is it relaying?

[radio]
kind = "monitor"           # monitor, nl80211, hostapd or replay; see docs/hardware.md
interface = "mon0"         # monitor, nl80211: an interface; hostapd: its socket; replay: a file
listen = ""                # with hostapd: what hears, "monitor:mon0" or "nl80211:wlan0"
window_ms = 450            # with hostapd: how long a beacon stays in the access point's own
keep_elements = ""         # with hostapd: vendor_elements of hostapd.conf, which stay beside ours
frequency_mhz = 2437       # channel that it beacons on
can_set_power = false      # true where power can be lowered for a beacon
power_interface = ""       # where this hotspot lowers it itself (CAP_NET_ADMIN): "wlan0"
reset_hook = ""            # command that resets a stuck interface; gets its name as last word
codec = "fast"             # scapy: 1,000 frames/s, for those who change the frame's format

[ledger]
url = "http://127.0.0.1:8700"  # or unix:/path/of/socket
"""


# What a registration may hold is what these settings may hold.
FIELDS = dict(zip(NAMES[Registration.TYPE], LAYOUT[Registration.TYPE][1], strict=True))
LOWEST_MHZ, HIGHEST_MHZ = 500, 7_200  # from 802.11ah to 802.11be
WINDOW_RANGE_MS = (110, 10_000)  # one beacon interval; and what nobody needs to exceed
ELEMENTS = re.compile(r"([0-9a-fA-F]{2})*")
CODECS = ("fast", "scapy")
LEDGER_URL = re.compile(r"http://([^/:\s]+|\[[0-9a-fA-F:]+\]):\d{1,5}/?|unix:.+")


@dataclass(frozen=True, slots=True)
class HotspotSection:
    """Key, place and files of a hotspot; see SAMPLE for each field's meaning."""

    cell: str = ""
    latitude_udeg: int = 0
    longitude_udeg: int = 0
    height_m: int = 6
    gain_cdb: int = 200
    eirp_cdbm: int = 2000
    key_file: str = "hotspot.key"
    owner_key_file: str = "owner.key"
    queue: str = "queue.db"
    status_file: str = "status.json"
    chain_length: int = 65536
    queue_limit_mib: int = 40
    page: str = "127.0.0.1:8710"
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class RadioSection:
    """The radio that beacons leave by."""

    kind: str = "monitor"
    interface: str = "mon0"
    listen: str = ""
    window_ms: int = 450
    keep_elements: str = ""
    frequency_mhz: int = 2437
    can_set_power: bool = False
    power_interface: str = ""
    reset_hook: str = ""
    codec: str = "fast"


@dataclass(frozen=True, slots=True)
class LedgerSection:
    """Where records go."""

    url: str = "http://127.0.0.1:8700"


@dataclass(frozen=True, slots=True)
class HotspotConfig:
    """All settings of hotspotd."""

    hotspot: HotspotSection
    radio: RadioSection
    ledger: LedgerSection


Section = TypeVar("Section", bound="DataclassInstance")


def parse_config(text: str, source: str) -> HotspotConfig:
    """Settings from TOML text. Raises UserError naming the key and what it takes."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            source, f"not valid TOML: {error}", "see: wavecomb hotspot config sample"
        ) from error
    for name in table:
        if name not in ("hotspot", "radio", "ledger"):
            raise UserError(f"[{name}]", "unknown section", "use [hotspot], [radio] and [ledger]")
    config = HotspotConfig(
        hotspot=read_section("hotspot", HotspotSection, table.get("hotspot", {})),
        radio=_read_radio(table.get("radio", {})),
        ledger=read_section("ledger", LedgerSection, table.get("ledger", {})),
    )
    check_config(config)
    return config


def _read_radio(table: Any) -> RadioSection:
    """The section, or the one line that names kind and interface."""
    if isinstance(table, str):
        return use_radio(RadioSection(), table)
    return read_section("radio", RadioSection, table)


def use_radio(section: RadioSection, text: str, field: str = "radio") -> RadioSection:
    """A section with another radio, written KIND:NAME."""
    spec = parse_spec(text, field)
    return replace(section, kind=spec.kind, interface=spec.target)


def read_section(name: str, kind: type[Section], table: Mapping[str, Any]) -> Section:
    """One section: known keys only, each of its default's type."""
    if not isinstance(table, Mapping):
        raise UserError(f"[{name}]", "is not a section", f"write it as [{name}]")
    known = {f.name: type(f.default) for f in fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise UserError(
                f"{name}.{key}", "unknown key", f"known keys: {', '.join(sorted(known))}"
            )
        if type(value) is not known[key]:
            raise UserError(
                f"{name}.{key}",
                f"{value!r} is not a {known[key].__name__}",
                "see: wavecomb hotspot config sample",
            )
    return kind(**table)


def check_config(config: HotspotConfig) -> None:
    """UserError naming the setting that can't be."""
    spot, frequency_mhz = config.hotspot, config.radio.frequency_mhz
    if not is_cell_text(spot.cell):
        raise UserError(
            "hotspot.cell",
            f"{spot.cell!r} is not an H3 cell of resolution 7 to 10",
            "run: wavecomb hotspot init --lat LAT --lon LON",
        )
    for name in ("latitude_udeg", "longitude_udeg", "height_m", "gain_cdb", "eirp_cdbm"):
        if problem := FIELDS[name].problem(getattr(spot, name)):
            raise UserError(f"hotspot.{name}", f"{getattr(spot, name)} can't be", problem)
    if not 1 <= spot.chain_length <= 1 << 20:
        raise UserError(
            "hotspot.chain_length", f"{spot.chain_length} is out of range", "use 1 to 1048576"
        )
    _check_radio(config.radio)
    if not LOWEST_MHZ <= frequency_mhz <= HIGHEST_MHZ:
        raise UserError(
            "radio.frequency_mhz",
            f"{frequency_mhz} is no Wi-Fi channel",
            f"use the centre of one, {LOWEST_MHZ} to {HIGHEST_MHZ}, such as 2437",
        )
    check_ledger_url(config.ledger.url)
    _check_owner(config)


def _check_radio(radio: RadioSection) -> None:
    if radio.kind not in KINDS:
        raise UserError("radio.kind", f"{radio.kind!r} is unknown", f"use {', '.join(KINDS)}")
    check_pair(RadioSpec(radio.kind, radio.interface), radio.listen)
    if not WINDOW_RANGE_MS[0] <= radio.window_ms <= WINDOW_RANGE_MS[1]:
        remedy = "use {} to {}: a beacon leaves every 102 ms".format(*WINDOW_RANGE_MS)
        raise UserError("radio.window_ms", f"{radio.window_ms} is out of range", remedy)
    if not ELEMENTS.fullmatch(radio.keep_elements):
        remedy = "copy it from hostapd.conf, hexadecimal digits without spaces"
        raise UserError("radio.keep_elements", f"{radio.keep_elements!r} is no element", remedy)
    if radio.codec not in CODECS:
        raise UserError("radio.codec", f"{radio.codec!r} is unknown", f"use {' or '.join(CODECS)}")


def _check_owner(config: HotspotConfig) -> None:
    """What only the owner sees: queue, page, gateway, hook."""
    limit_mib = config.hotspot.queue_limit_mib
    if not 1 <= limit_mib <= 1 << 16:
        raise UserError("hotspot.queue_limit_mib", f"{limit_mib} is out of range", "use 1 to 65536")
    for name in ("page", "gateway"):
        if value := getattr(config.hotspot, name):
            parse_address(f"hotspot.{name}", value)
    if config.radio.reset_hook:
        try:
            shlex.split(config.radio.reset_hook)
        except ValueError as error:
            remedy = "write it as in a shell, without pipes"
            raise UserError("radio.reset_hook", str(error), remedy) from error


def parse_address(field: str, text: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 host in brackets. UserError names the field."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UserError(field, f"{text!r} is no address", "use HOST:PORT, such as 127.0.0.1:8710")
    return host, int(port)


def is_cell_text(text: str) -> bool:
    """Whether this is an H3 cell, in hexadecimal, of a resolution that owners may choose."""
    try:
        return not FIELDS["cell"].problem(int(text, 16))
    except ValueError:
        return False


def check_ledger_url(url: str) -> None:
    """UserError unless this is the address of a ledger service."""
    if not LEDGER_URL.fullmatch(url):
        raise UserError(
            "ledger.url", f"{url!r} is no address", "use http://HOST:PORT or unix:/PATH"
        )
