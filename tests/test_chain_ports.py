"""Ports that are chosen before their program starts stay free until it does."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from chain import io_ports
from chain.io_ports import FIRST, free_ports

KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_different_free_and_none_that_the_kernel_gives_to_others(kind: int) -> None:
    chosen = free_ports(20, kind) + free_ports(20, kind)
    assert len(set(chosen)) == 40
    with ExitStack() as stack:
        for port in chosen:
            taken = stack.enter_context(socket.socket(socket.AF_INET, kind))
            taken.bind(("127.0.0.1", port))
        given = []
        for _ in range(200):
            one = stack.enter_context(socket.socket(socket.AF_INET, kind))
            one.bind(("127.0.0.1", 0))
            given.append(one.getsockname()[1])
    assert FIRST <= min(chosen) <= max(chosen) < min(given)


def test_one_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(io_ports, "_numbers", iter(range(port - FIRST, port - FIRST + 9)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        assert free_ports(1)[0] > port


def test_none_left_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_ports, "_is_free", lambda *_: False)
    with pytest.raises(OSError, match="no 1 free ports"):
        free_ports(1)


@pytest.mark.parametrize(("said", "behind"), [("20000\t30000\n", 20_000), ("x", 32_768)])
def test_where_they_end_is_what_the_kernel_says(
    tmp_path, monkeypatch: pytest.MonkeyPatch, said: str, behind: int
) -> None:
    path = tmp_path / "range"
    monkeypatch.setattr(io_ports, "_RANGE", path)
    assert io_ports._get_behind() == 32_768
    path.write_text(said)
    assert io_ports._get_behind() == behind
