"""What the always-on process does without, and what it need not compute twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from hotspot.io_links import load_chain
from hotspot.secrets import STRIDE, SecretChain

SEED = b"s" * 32


def test_the_daemon_loads_neither_tls_nor_openssl() -> None:
    code = (
        "import sys; from hotspot.io_cli import main\n"
        "try: main(['run', '--config', '/absent/hotspot.toml'])\n"
        "except Exception as error: print(type(error).__name__)\n"
        "import hotspot.io_daemon, hashlib\n"
        "print(hashlib.sha256(b'abc').hexdigest()[:8])\n"
        "print('crypto' in open('/proc/self/maps').read().replace('nacl', ''))\n"
        "print(sys.modules.get('ssl'), sys.modules.get('_hashlib'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["UserError", "ba7816bf", "False", "None", "None"], done.stderr


def test_verbs_that_end_at_once_keep_tls() -> None:
    code = "import hotspot.io_cli as c; c.main(['config', 'sample']); import ssl; ssl.CERT_NONE"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    assert done.returncode == 0


@pytest.mark.parametrize("first", [1, 63, 64, 65, 1_000])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 400])
def test_kept_links_make_the_same_chain(first: int, length: int) -> None:
    made = SecretChain(SEED, first, length)
    again = SecretChain(SEED, first, length, made.kept_links())
    assert again.anchor == made.anchor
    for epoch in range(first, first + length):
        assert again.link(epoch) == made.link(epoch)
    assert len(made.kept_links()) <= 32 * (length // STRIDE + 2)


def test_a_chain_is_kept_for_its_owner_alone_and_made_again_where_the_file_lies(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hotspot.key.links"
    anchor = SecretChain(SEED, 7, 500).anchor
    assert load_chain(path, SEED, 7, 500).anchor == anchor
    assert path.stat().st_mode & 0o777 == 0o600
    kept = path.read_bytes()
    assert load_chain(path, SEED, 7, 500).anchor == anchor
    for other in (kept[:-1], kept[:40] + bytes([kept[40] ^ 1]) + kept[41:], b"", kept[32:]):
        path.write_bytes(other)
        assert load_chain(path, SEED, 7, 500).anchor == anchor
        assert path.read_bytes() == kept, "and mended"
    assert load_chain(path, SEED, 8, 500).anchor == SecretChain(SEED, 8, 500).anchor
    assert load_chain(path, b"t" * 32, 8, 500).anchor == SecretChain(b"t" * 32, 8, 500).anchor


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "hotspot.key.links"
    assert load_chain(path, SEED, 7, 500).anchor == SecretChain(SEED, 7, 500).anchor
    assert not os.path.lexists(path)
