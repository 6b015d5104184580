"""Giving up rights for good: netd keeps CAP_NET_ADMIN, and nothing that it starts can get more.

capabilities(7), prctl(2), capset(2), through the C library.
"""

from __future__ import annotations

import ctypes
import os

from chain.errors import EXIT_FAILED, UserError

CAP_NET_ADMIN = 12
_CAP_LAST_MAX = 63
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 capabilities


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def has_net_admin() -> bool:
    """Whether this process may change the network."""
    library = ctypes.CDLL(None, use_errno=True)
    words = (_Word * 2)()
    if library.capget(ctypes.byref(_Header(_VERSION_3, 0)), words):
        return False
    return bool(words[0].effective & (1 << CAP_NET_ADMIN))


def keep_only_net_admin() -> None:
    """Drop every other capability, and the way to new ones. UserError where it can't be done."""
    library = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAP_LAST_MAX + 1):
        known = library.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0)
        if known < 0:
            break
        if known and capability != CAP_NET_ADMIN:
            # Without CAP_SETPCAP the bounding set stays; no_new_privs makes that harmless.
            library.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    library.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    only = 1 << CAP_NET_ADMIN
    words = (_Word * 2)(_Word(only, only, 0), _Word(0, 0, 0))
    if library.capset(ctypes.byref(_Header(_VERSION_3, 0)), words):
        said = os.strerror(ctypes.get_errno())
        remedy = "run as root, or grant CAP_NET_ADMIN (AmbientCapabilities=CAP_NET_ADMIN)"
        raise UserError("netd", f"no right to change the network: {said}", remedy,
                        exit_code=EXIT_FAILED)  # fmt: skip
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise UserError("netd", "no_new_privs can't be set", "use a kernel of 3.5 or newer",
                        exit_code=EXIT_FAILED)  # fmt: skip
