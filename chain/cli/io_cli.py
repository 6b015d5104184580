"""`wavecomb chain`: make and run a ledger, put records in, ask why, audit.

The sub-commands live in the modules of PARTS, here or beside what they run; each adds its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from chain.errors import EXIT_FAILED, UserError
from chain.io_terminal import Parser

# Modules with EXAMPLES and add_commands(commands), in the order in which help lists them.
PARTS = (
    "cli.io_network",
    "cli.io_records",
    "cli.io_finding",
    "cli.io_hold",
    "cli.io_rotation",
    "cli.io_ask",
    "cli.io_promise",
    "cli.io_ops",
    "consensus.io_validator",
    "consensus.io_testnet",
    "cli.io_key",
    "cli.io_bench",
    "cli.io_light",
    "cli.io_checkpoint",
    "cli.io_export",
    "proofs.io_witness",
    "cli.io_vectors",
    "cli.io_economics",
)
# Sub-commands that need PyNaCl alone and start at once: no other module is imported for them.
SMALL = {
    "light": "cli.io_light",
    "checkpoint": "cli.io_checkpoint",
    "record": "cli.io_checkpoint",
    "export": "cli.io_export",
    "witness": "proofs.io_witness",
}
# Sub-commands of whoever keeps a ledger: they serve HTTP, and an owner's router lacks the package.
SERVERS = {
    "init": "cli.io_network",
    "run": "cli.io_network",
    "validator": "consensus.io_validator",
    "testnet": "consensus.io_testnet",
}
SERVERS_EXTRA = "pip install 'wavecomb[gateway]'"


def _import(part: str) -> ModuleType:
    return importlib.import_module(f"chain.{part}")


def _import_here(parts: Sequence[str]) -> list[ModuleType]:
    """Modules, without those of servers where a package of theirs isn't installed."""
    modules: list[ModuleType] = []
    for part in parts:
        try:
            modules.append(_import(part))
        except ModuleNotFoundError:
            if part not in SERVERS.values():
                raise
    return modules


def parser(parts: Sequence[str] = PARTS) -> Parser:
    """The options of every sub-command of some modules."""
    modules = _import_here(parts)
    lacks = "" if len(modules) == len(parts) else f"\n{', '.join(SERVERS)}: {SERVERS_EXTRA}."
    top = Parser(
        prog="wavecomb chain",
        description=f"The ledger: what was proved, what was paid, and why.{lacks}",
        examples="".join(module.EXAMPLES for module in modules),
    )
    commands = top.add_commands()
    for module in modules:
        module.add_commands(commands)
    return top


def main(argv: Sequence[str]) -> int:
    """Run a sub-command; the exit code."""
    small = SMALL.get(argv[0]) if argv else None
    if small is not None:
        options = parser((small,)).parse_args(list(argv))
        return int(options.run(options))
    if argv and argv[0] in SERVERS:
        _import(SERVERS[argv[0]])  # which names the package that is missing, if one is
    from chain.io_client import LedgerRefused, LedgerUnavailable

    options = parser().parse_args(list(argv))
    try:
        code: int = options.run(options)
    except LedgerUnavailable as error:
        raise UserError(
            "ledger", str(error), "start it with: wavecomb chain run", exit_code=EXIT_FAILED
        ) from error
    except LedgerRefused as error:
        raise _as_told(str(error)) from error
    return code


def _as_told(detail: str) -> UserError:
    """The service's own words, which name field, problem and remedy as ours do."""
    field, named, rest = detail.partition(": ")
    problem, _, remedy = rest.partition("; ")
    if not named or not remedy:
        field, problem, remedy = "ledger", "refused", detail
    return UserError(field, problem, remedy, exit_code=EXIT_FAILED)
