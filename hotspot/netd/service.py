"""What starts netd at boot: a systemd unit with CAP_NET_ADMIN and as little else as possible.

ProtectKernelTunables= is left out on purpose: netd sets forwarding and the multipath hash below
/proc/sys/net. Options: systemd.exec(5), systemd.service(5).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from chain.errors import UserError
from routing.kernel.desired import Place

UNIT = """\
[Unit]
Description=Wavecomb netd: routes, queues and transmit power
After=network.target
Before=wavecomb.service

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} hotspot netd run {options}
RuntimeDirectory=wavecomb-netd
RuntimeDirectoryMode=0755
Restart=always
RestartSec=2
WatchdogSec=60
Nice=-15
User=wavecomb-netd
Group={group}
AmbientCapabilities=CAP_NET_ADMIN
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service capset
SystemCallFilter=~@resources
UMask=0077
MemoryMax=128M
TasksMax=16

[Install]
WantedBy=multi-user.target
"""


def systemd_unit(command: str, place: Place, users: Sequence[str]) -> str:
    """The unit for a program at an absolute path; callers share the group of the first user."""
    group = users[0] if users else "wavecomb"
    for name, word in (("--command", command), *(("--user", user) for user in users)):
        if shlex.quote(word) != word or "%" in word:
            raise UserError(name, f"{word!r} can't stand in a unit", "use plain letters")
    if not command.startswith("/"):
        remedy = "give an absolute path, such as /usr/bin/wavecomb"
        raise UserError("--command", f"{command!r} is not absolute", remedy)
    options = [f"--mesh {device}" for device in place.mesh]
    options += [f"--access {device}" for device in place.access]
    options += [f"--user {user}" for user in users or ("wavecomb",)]
    home = "read-only" if command.startswith(("/home/", "/root/")) else "yes"
    return UNIT.format(command=command, options=" ".join(options), group=group, home=home)
