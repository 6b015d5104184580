"""Errors that people meet: each names field, problem and remedy, and maps to a status."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells say it


class UserError(Exception):
    """Bad input or environment: one clear line, exit code 2 (HTTP 400) unless told otherwise."""

    def __init__(
        self,
        field: str,
        problem: str,
        remedy: str,
        *,
        exit_code: int = EXIT_USAGE,
        status: int = 400,
    ) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.exit_code = exit_code
        self.status = status
