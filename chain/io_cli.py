"""`wavecomb chain`: make and run a ledger, put records in, ask why, audit.

The sub-commands live in io_cli_*.py and beside what they run; each module adds its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain import (
    io_cli_ask,
    io_cli_network,
    io_cli_ops,
    io_cli_promise,
    io_cli_records,
    io_export,
    io_light,
    io_vectors,
    io_witness,
)
from chain.errors import EXIT_FAILED, UserError
from chain.io_client import LedgerRefused, LedgerUnavailable
from chain.io_terminal import Parser

# Modules with EXAMPLES and add_commands(commands), in the order in which help lists them.
PARTS = (
    *(io_cli_network, io_cli_records, io_cli_ask, io_cli_promise, io_cli_ops),
    *(io_light, io_export, io_witness, io_vectors),
)


def parser() -> Parser:
    """The options of every sub-command."""
    top = Parser(
        prog="wavecomb chain",
        description="The ledger: what was proved, what was paid, and why.",
        examples="".join(part.EXAMPLES for part in PARTS),
    )
    commands = top.add_commands()
    for part in PARTS:
        part.add_commands(commands)
    return top


def main(argv: Sequence[str]) -> int:
    """Run a sub-command; the exit code."""
    options = parser().parse_args(list(argv))
    try:
        code: int = options.run(options)
    except LedgerUnavailable as error:
        raise UserError(
            "ledger", str(error), "start it with: wavecomb chain run", exit_code=EXIT_FAILED
        ) from error
    except LedgerRefused as error:
        raise UserError("ledger", "refused", str(error), exit_code=EXIT_FAILED) from error
    return code
