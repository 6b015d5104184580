"""What starts the daemon at boot: a systemd unit, and procd's recipe on OpenWrt; texts to install.

The unit gives one capability, CAP_NET_RAW, and takes away what a daemon with one socket to the air,
one to the ledger and one folder has no use for. `READY=1` comes once the radio is open; a loop that
hangs misses `WATCHDOG=1` and is restarted. ProtectClock= is left out on purpose: it forbids to ask
the kernel whether the clock is synchronised too, and without CAP_SYS_TIME nobody sets it anyway.
Options: systemd.exec(5), systemd.service(5).
"""

from __future__ import annotations

import shlex

from chain.errors import UserError

UNIT = """\
[Unit]
Description=Wavecomb hotspot
After=network-online.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
WorkingDirectory={folder}
Restart=always
RestartSec=5
WatchdogSec=60
User={user}
Group={user}
AmbientCapabilities=CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_RAW
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={folder}
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_PACKET AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=adjtimex
UMask=0077
MemoryMax=128M
TasksMax=16

[Install]
WantedBy=multi-user.target
"""
PROCD = """\
#!/bin/sh /etc/rc.common
# Settings: /etc/config/wavecomb (uci). They are turned into TOML at each start.
USE_PROCD=1
START=95
STOP=10
FOLDER={folder}

service_triggers() {{
\tprocd_add_reload_trigger wavecomb
\tprocd_add_raw_trigger "interface.*" 5000 /etc/init.d/wavecomb reload
}}

start_service() {{
\tconfig_load wavecomb
\tlocal enabled
\tconfig_get_bool enabled hotspot enabled 1
\t[ "$enabled" = 1 ] || return 0
\tmkdir -p "$FOLDER"
\t{command} hotspot config import-uci --uci /etc/config/wavecomb \\
\t\t--config "$FOLDER/hotspot.toml" --force || return 1
\tprocd_open_instance
\tprocd_set_param command {command} hotspot run --config "$FOLDER/hotspot.toml"
\tprocd_set_param respawn 3600 5 0
\tprocd_set_param stderr 1
\tprocd_set_param file /etc/config/wavecomb
\tprocd_set_param no_new_privs 1
\tprocd_close_instance
}}
"""
# Secrets of a router live where an upgrade keeps them: /etc survives sysupgrade, /var is memory.
OPENWRT_FOLDER, LINUX_FOLDER = "/etc/wavecomb", "/var/lib/wavecomb"


def systemd_unit(
    command: str, folder: str = LINUX_FOLDER, user: str = "wavecomb", start: str = ""
) -> str:
    """The unit for a program at an absolute path, or for what `update adopt` made to start it."""
    _check(start or command, folder)
    at_home = any(path.startswith(("/home/", "/root/")) for path in (command, folder))
    home = "read-only" if at_home else "yes"
    start = start or f"{command} hotspot run --config {folder}/hotspot.toml"
    return UNIT.format(start=start, folder=folder, user=user, home=home)


def procd_script(command: str, folder: str = OPENWRT_FOLDER) -> str:
    """/etc/init.d/wavecomb."""
    _check(command, folder)
    return PROCD.format(command=command, folder=folder)


def _check(command: str, folder: str) -> None:
    for name, path in (("command", command), ("folder", folder)):
        if not path.startswith("/") or shlex.quote(path) != path or "%" in path:
            remedy = "give an absolute path without spaces, such as /usr/bin/wavecomb"
            raise UserError(name, f"{path!r} can't stand in a service's settings", remedy)
