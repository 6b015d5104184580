"""The radio without monitor mode: nl80211 sends and receives our action frames on an ordinary vif.

It needs CAP_NET_ADMIN, which hotspotd's unit doesn't give: run it as root, or let hotspot-netd
hold the right. Each frame that left comes back as the driver's own report, and counts as an echo.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable

from chain.errors import EXIT_FAILED, UserError
from hotspot.carriers.io_netlink import ANSWER_S, Door, KernelDoor, Requests, events
from hotspot.carriers.netlink import Generic
from hotspot.carriers.nl80211 import (
    CMD_FRAME,
    CMD_FRAME_TX_STATUS,
    FAMILY,
    Interface,
    Station,
    Survey,
    frame_echoed,
    frame_heard,
    frame_request,
    interface_request,
    power_request,
    read_interface,
    read_station,
    read_survey,
    register_request,
    stations_request,
    survey_request,
)
from hotspot.io_system import device_frames
from hotspot.radio.io_radio import BATCH_FRAMES

OpenDoor = Callable[[float | None], Door]
FindIndex = Callable[[str], int]
_MLME = "mlme"  # the multicast group of reports on frames sent
_SOURCE_AT = 10


def kernel_door(timeout_s: float | None) -> Door:
    """A door to the real kernel."""
    return KernelDoor(timeout_s=timeout_s)


class Wireless:
    """Requests about one wireless interface. Every call may raise OSError as the kernel says."""

    def __init__(
        self,
        interface: str,
        open_door: OpenDoor = kernel_door,
        find_index: FindIndex = socket.if_nametoindex,
    ) -> None:
        self.name = interface
        self.ifindex = _find(interface, find_index)
        self._requests = Requests(open_door(ANSWER_S))
        try:
            self.family, self.groups = self._requests.family(FAMILY)
        except BaseException:
            self._requests.close()
            raise

    def describe(self) -> Interface:
        """The interface as nl80211 sees it; UserError where it is no wireless one."""
        request = interface_request(self.family, self.ifindex, self._requests.next_sequence())
        try:
            answers = [read_interface(answer) for answer in self._requests.ask(request)]
        except OSError as error:
            answers = []
            if error.errno != errno.ENODEV:
                raise
        for found in answers:
            if found is not None:
                return found
        remedy = "see `iw dev` for the wireless ones"
        raise UserError("radio", f"{self.name} is not wireless", remedy, exit_code=EXIT_FAILED)

    def send_frame(self, mpdu: bytes, frequency_mhz: int | None = None) -> None:
        """Let the driver send a management frame."""
        sequence = self._requests.next_sequence()
        self._requests.ask(frame_request(self.family, self.ifindex, mpdu, sequence, frequency_mhz))

    def set_power(self, power_cdbm: int | None) -> None:
        """Fix the transmit power in hundredths of a dBm; None gives it back to the driver."""
        sequence = self._requests.next_sequence()
        self._requests.ask(power_request(self.family, self.ifindex, power_cdbm, sequence))

    def survey(self) -> list[Survey]:
        """How busy each channel was."""
        request = survey_request(self.family, self.ifindex, self._requests.next_sequence())
        rows = [read_survey(answer) for answer in self._requests.ask(request)]
        return [row for row in rows if row is not None]

    def stations(self) -> list[Station]:
        """The peers of the interface."""
        request = stations_request(self.family, self.ifindex, self._requests.next_sequence())
        rows = [read_station(answer) for answer in self._requests.ask(request)]
        return [row for row in rows if row is not None]

    def close(self) -> None:
        """Close the socket."""
        self._requests.close()


def _find(interface: str, find_index: FindIndex) -> int:
    try:
        return find_index(interface)
    except OSError as error:
        remedy = "see `iw dev` for the wireless ones"
        raise UserError("radio", f"{interface}: no such interface", remedy) from error


_READERS = {CMD_FRAME: frame_heard, CMD_FRAME_TX_STATUS: frame_echoed}


def _frames_of(event: Generic) -> list[bytes]:
    """The frame of an event behind a radiotap header; none for events about other things."""
    read = _READERS.get(event.command)
    frame = read(event) if read else None
    return [frame] if isinstance(frame, bytes) else []


class Nl80211Radio:
    """Our frames through an ordinary interface's driver; the Radio of `radio/io_radio.py`."""

    def __init__(
        self,
        interface: str,
        open_door: OpenDoor = kernel_door,
        find_index: FindIndex = socket.if_nametoindex,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._wireless = Wireless(interface, open_door, find_index)
        self._events: Door | None = None
        try:
            self._mac = self._wireless.describe().mac
            self._events = open_door(None)
            self._listen(self._events)
        except OSError as error:
            self.close()
            remedy = "run as root, or through hotspot-netd; or use monitor:INTERFACE"
            said = f"{interface}: {error.strerror}"
            raise UserError("radio", said, remedy, exit_code=EXIT_FAILED) from error
        except BaseException:
            self.close()
            raise

    def _listen(self, door: Door) -> None:
        """Ask for our frames and for the reports on those sent, on the socket for events."""
        wireless, requests = self._wireless, Requests(door)
        sequence = requests.next_sequence()
        try:
            requests.ask(register_request(wireless.family, wireless.ifindex, sequence))
        except OSError as error:
            # The daemon hears them already while the doctor asks; reports on frames sent go to all.
            if error.errno != errno.EALREADY:
                raise
            self.counts["heard_elsewhere"] = 1
        if _MLME in wireless.groups:
            door.join(wireless.groups[_MLME])

    @property
    def description(self) -> str:
        """Name the radio in a few words."""
        return f"nl80211 frames on {self._wireless.name}"

    def fileno(self) -> int:
        """The descriptor of the socket for events."""
        if self._events is None:
            raise ValueError("the radio is closed")
        return self._events.fileno()

    def receive(self) -> list[bytes]:
        """Frames of neighbours, and our own as the driver reports them sent."""
        if self._events is None:
            return []
        frames: list[bytes] = []
        try:
            for event in events(self._events, BATCH_FRAMES):
                frames += _frames_of(event)
        except OSError as error:
            # ENOBUFS: the kernel dropped events because we were slow; the rest goes on.
            self.counts["lost" if error.errno == errno.ENOBUFS else "receive_failed"] += 1
        self.counts["received"] += len(frames)
        return frames

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Send a frame from the interface's own address: cfg80211 lets no other one leave."""
        self.counts["power_step_ignored"] += power_step_db != 0
        mpdu = frame[int.from_bytes(frame[2:4], "little") :]
        own = mpdu[:_SOURCE_AT] + self._mac + mpdu[_SOURCE_AT + 6 :]
        try:
            self._wireless.send_frame(own)
            self.counts["sent"] += 1
        except OSError:
            self.counts["send_failed"] += 1

    def dropped(self) -> int:
        """How often the kernel dropped events because we were slow."""
        return self.counts["lost"]

    def device_frames(self) -> int:
        """The device's own count; what we received where the kernel shows none."""
        counted = device_frames(self._wireless.name)
        return self.counts["received"] if counted is None else counted

    def close(self) -> None:
        """Close both sockets."""
        self._wireless.close()
        if self._events is not None:
            self._events.close()
            self._events = None
