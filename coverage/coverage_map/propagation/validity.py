"""What is said about inputs: flags for those outside a model's range, an error for impossible ones.

Warnings are bits that are collected, as in ITM: the loss is returned and may be poor. An
`InvalidInputError` means there is no loss to return; it is a ValueError that names the field.
"""

from __future__ import annotations

from enum import IntFlag


class InvalidInputError(ValueError):
    """An input for which the model isn't defined: one line with field, problem and remedy.

    `code` is the number that the model's reference implementation gives this error, or 0.
    """

    def __init__(self, field: str, problem: str, remedy: str, code: int = 0) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.code = code


class RangeWarning(IntFlag):
    """Inputs outside what the model's authors measured: the loss is an extrapolation."""

    NONE = 0
    FREQUENCY = 0x01
    DISTANCE_SMALL = 0x02
    DISTANCE_LARGE = 0x04
    BASE_HEIGHT = 0x08
    TERMINAL_HEIGHT = 0x10
    BUILDING_HEIGHT = 0x20
    STREET_WIDTH = 0x40
    PERCENTAGE = 0x80
    ELEVATION = 0x100


def names(warnings: IntFlag) -> tuple[str, ...]:
    """Names of the raised flags, lowest bit first."""
    return tuple(flag.name for flag in type(warnings) if flag.name and flag in warnings and flag)
