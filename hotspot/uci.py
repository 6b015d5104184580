"""OpenWrt's configuration files (UCI) to our settings and back; tolerant as `uci` itself is.

    config hotspot 'hotspot'        the section's name is our section's: hotspot, radio or ledger
        option cell '891e35a3393ffff'

Format: OpenWrt's "UCI system" page. Quotes are single, double or none; words may be joined from
several quoted pieces, as in a shell; `#` begins a comment.
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING

from chain.errors import UserError
from hotspot.config import HotspotConfig, HotspotSection, LedgerSection, RadioSection

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SECTIONS: dict[str, type[DataclassInstance]] = {
    "hotspot": HotspotSection,
    "radio": RadioSection,
    "ledger": LedgerSection,
}
TRUE, FALSE = ("1", "yes", "on", "true", "enabled"), ("0", "no", "off", "false", "disabled")
IGNORED = ("enabled",)  # procd's switch; no setting of the daemon


def format_uci(config: HotspotConfig) -> str:
    """The settings as /etc/config/wavecomb: every option, so that LuCI and `uci` show them."""
    lines = []
    for name, kind in SECTIONS.items():
        lines.append(f"config {name} '{name}'")
        section = getattr(config, name)
        for field in fields(kind):
            value = getattr(section, field.name)
            text = str(int(value)) if isinstance(value, bool) else str(value)
            lines.append(f"\toption {field.name} {_quoted(text)}")
        lines.append("")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def uci_to_toml(text: str, source: str) -> str:
    """Our settings file from a UCI file. UserError names the line and what it takes."""
    tables: dict[str, list[str]] = {}
    current: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        words = _words(line, f"{source}:{number}")
        if not words or words[0] == "package":
            continue
        if words[0] == "config" and len(words) in (2, 3):
            current = _section(words, f"{source}:{number}")
            tables.setdefault(current, [])
        elif words[0] == "option" and len(words) == 3 and current:
            if words[1] not in IGNORED:
                row = _setting(current, words[1], words[2], f"{source}:{number}")
                tables[current].append(row)
        else:
            remedy = "write: config NAME, then option KEY 'VALUE'"
            raise UserError(f"{source}:{number}", "is no option of a section", remedy)
    blocks = ["\n".join([f"[{name}]", *rows]) for name, rows in tables.items()]
    return "\n\n".join(blocks) + "\n"


def _words(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise UserError(where, str(error).lower(), "close the quote") from error


def _section(words: list[str], where: str) -> str:
    name = words[-1] if words[-1] in SECTIONS else words[1]
    if name not in SECTIONS:
        raise UserError(where, f"{name!r} is no section", f"use one of: {', '.join(SECTIONS)}")
    return name


def _setting(section: str, key: str, value: str, where: str) -> str:
    """One line of TOML, of the type that the setting has."""
    kinds = {field.name: type(field.default) for field in fields(SECTIONS[section])}
    if key not in kinds:
        remedy = f"known options: {', '.join(kinds)}"
        raise UserError(where, f"{key!r} is no option of {section}", remedy)
    if kinds[key] is bool:
        if value.lower() not in (*TRUE, *FALSE):
            raise UserError(where, f"{value!r} is neither true nor false", "use 1 or 0")
        return f"{key} = {str(value.lower() in TRUE).lower()}"
    if kinds[key] is int:
        try:
            return f"{key} = {int(value)}"
        except ValueError as error:
            raise UserError(where, f"{value!r} is no whole number", "write digits") from error
    return f"{key} = {_toml_string(value)}"


def _toml_string(text: str) -> str:
    """A TOML basic string: quotes, backslashes and control characters escaped."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'
