"""Open the radio that the settings name, with the listener and the power steps they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chain.errors import UserError
from hotspot.carriers.spec import RadioSpec, check_pair
from hotspot.radio.codec import need_codec
from hotspot.radio.io_radio import Radio, open_radio

if TYPE_CHECKING:
    from hotspot.config import HotspotConfig, RadioSection


def open_carrier(config: HotspotConfig) -> Radio:
    """The radio of a hotspot. Raises UserError with the remedy.

    With power steps where this hotspot takes them itself; with answers to neighbours' test frames
    where the key file is known by its whole path (`wavecomb hotspot run` sees to that).
    """
    radio = open_section(config.radio)
    try:
        radio = _with_power(radio, config)
        return _with_answers(radio, config)
    except UserError:
        radio.close()
        raise


def _with_power(radio: Radio, config: HotspotConfig) -> Radio:
    if not config.radio.can_set_power or not config.radio.power_interface:
        return radio
    from hotspot.carriers.io_power import PoweredRadio

    spot = config.hotspot
    return PoweredRadio(
        radio, open_power(config.radio.power_interface), spot.eirp_cdbm - spot.gain_cdb
    )


def _with_answers(radio: Radio, config: HotspotConfig) -> Radio:
    path = Path(config.hotspot.key_file)
    if not path.is_absolute():
        return radio
    from chain.io_keys import load_seed
    from chain.keys import public_key
    from hotspot.carriers.io_answer import AnsweringRadio
    from hotspot.node import mac_of
    from hotspot.radio.probe import Answerer

    seed = load_seed(path)
    cell, frequency_mhz = int(config.hotspot.cell, 16), config.radio.frequency_mhz
    codec = need_codec(config.radio.codec)
    source = mac_of(public_key(seed))
    answerer = Answerer(seed, cell, frequency_mhz, codec.parse, codec.build, source)
    return AnsweringRadio(radio, answerer)


def open_section(section: RadioSection) -> Radio:
    """The radio of a [radio] section, beside another that listens where one is named."""
    spec = RadioSpec(section.kind, section.interface)
    listener = check_pair(spec, section.listen)
    if listener is None:
        return open_spec(spec)
    from hotspot.carriers.io_hostapd import PairedRadio

    hears = open_spec(listener)
    try:
        return PairedRadio(_open_speaker(spec, section), hears)
    except BaseException:
        hears.close()
        raise


def _open_speaker(spec: RadioSpec, section: RadioSection) -> Radio:
    """What only speaks: an access point's beacons, or nl80211 by way of netd where one runs."""
    if spec.kind == "hostapd":
        from hotspot.carriers.io_hostapd import HostapdRadio

        return HostapdRadio(spec.target, bytes.fromhex(section.keep_elements), section.window_ms)
    from hotspot.carriers.io_netd_radio import NetdRadio, has_netd

    return NetdRadio(spec.target) if has_netd() else open_spec(spec)


def open_spec(spec: RadioSpec) -> Radio:
    """One radio. What a kind needs is imported when it is used: the daemon stays small."""
    if spec.kind == "nl80211":
        from hotspot.carriers.io_nl80211 import Nl80211Radio

        return Nl80211Radio(spec.target)
    if spec.kind == "hostapd":
        from hotspot.carriers.io_hostapd import HostapdRadio

        return HostapdRadio(spec.target)
    return open_radio(spec.kind, spec.target)


def open_power(interface: str) -> PowerControl:
    """Who lowers an interface's power: netd where one runs, else the kernel, asked directly."""
    from hotspot.carriers.io_netd_radio import NetdPower, has_netd

    if has_netd():
        return NetdPower(interface)
    from hotspot.carriers.io_nl80211 import Wireless

    return Wireless(interface)


if TYPE_CHECKING:
    from hotspot.carriers.io_power import PowerControl
