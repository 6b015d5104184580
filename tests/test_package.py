"""What people install: the wheel holds every package and the built page; the core stays small."""

from __future__ import annotations

import email
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT

import wavecomb
from coverage_map.service.io_web import DIST

PACKAGES = ("chain", "hotspot", "radio_sim", "routing", "coverage/coverage_map")
CORE = {"nacl", "cffi", "_cffi_backend", "pycparser"}  # PyNaCl and what it stands on
ONLY_CORE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        return None
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources as they are now."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("building a wheel needs setuptools 77 or newer in this environment")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(
        *(".*", "node_modules", "__pycache__", "*.egg-info", "build", "dist-old", "demo-data")
    )
    shutil.copytree(ROOT, source, ignore=unwanted)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", "-w", folder, source],
        check=True,
        cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("wavecomb-*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sources() -> set[str]:
    """Every module of every package, as a wheel names it."""
    names = {"wavecomb.py"}
    for package in PACKAGES:
        base = (ROOT / package).parent
        for path in (ROOT / package).rglob("*.py"):
            if "node_modules" not in path.parts:
                names.add(path.relative_to(base).as_posix())
    return names


def test_the_wheel_holds_every_module(contents: set[str]) -> None:
    assert sources() - contents == set()


def test_the_wheel_holds_nothing_of_ours_beside_them(contents: set[str]) -> None:
    modules = {name for name in contents if name.endswith(".py")}
    assert modules - sources() == set()
    assert not [name for name in contents if "node_modules" in name or "/web/src" in name]


def test_the_wheel_is_typed_and_licensed(contents: set[str]) -> None:
    typed = {f"{Path(package).name}/py.typed" for package in PACKAGES}
    assert typed - contents == set()
    assert any(name.endswith("licenses/LICENSE") for name in contents)


def test_the_wheel_holds_the_built_page(contents: set[str]) -> None:
    if not (DIST / "index.html").is_file():
        pytest.skip("the page is not built; make page builds it")
    built = {
        f"coverage_map/web/dist/{path.relative_to(DIST).as_posix()}"
        for path in DIST.rglob("*")
        if path.is_file()
    }
    assert built - contents == set()


def test_the_core_depends_on_pynacl_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Version"] == wavecomb.__version__
    always = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert [r.split(">")[0].lower() for r in always] == ["pynacl"]
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"all", "sim", "coverage", "routing", "gateway", "kernel", "scapy"} <= extras
    assert set(wavecomb.EXTRAS.values()) <= extras


def test_the_wheel_installs_and_starts(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", wheel],
        check=True,
        cwd=tmp_path,
    )  # fmt: skip
    link_core(next((tmp_path / "env" / "lib").glob("python*/site-packages")))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def say(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "env" / "bin" / "wavecomb"), *argv]
        return subprocess.run(command, env=clean, cwd=tmp_path, capture_output=True, text=True)

    assert say("--version").stdout == f"wavecomb {wavecomb.__version__}\n"
    sample = say("hotspot", "config", "sample")
    assert sample.stdout.startswith("# Wavecomb hotspot settings."), sample.stderr
    lacking = say("map", "serve", "--ledger", "unix:x")
    assert lacking.returncode == 1
    assert lacking.stderr.count("\n") == 1
    assert "pip install 'wavecomb" in lacking.stderr
    check_owner_asks(say)


def check_owner_asks(say: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The core is enough to ask a ledger and to audit a copy; what serves one names its extra."""
    told = say("chain", "--help")
    assert told.returncode == 0, told.stderr
    assert "explain" in told.stdout
    assert "init, run, validator, testnet: pip install 'wavecomb[gateway]'" in told.stdout
    served = say("chain", "run", "--dir", ".")
    assert (served.returncode, served.stderr.count("\n")) == (1, 1)
    assert "pip install 'wavecomb[gateway]'" in served.stderr
    assert "nobody.sock" in say("chain", "explain", "3", "--ledger", "unix:nobody.sock").stderr
    assert "no such file" in say("chain", "audit", "nowhere.db").stderr


def link_core(site: Path) -> None:
    """What `pip install wavecomb` would fetch: PyNaCl and what it stands on."""
    for name in CORE:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            real = origin.parent if origin.name == "__init__.py" else origin
            (site / real.name).symlink_to(real)


def core_only(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where only the standard library, PyNaCl and our own packages can be imported."""
    ours = {"wavecomb"} | {Path(package).name for package in PACKAGES}
    blocker = ONLY_CORE.replace("ALLOWED", repr(CORE | ours))
    return subprocess.run(
        [sys.executable, "-c", blocker + code], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "module", ["hotspot.io_daemon", "hotspot.io_verbs", "hotspot.io_queue", "chain.io_client"]
)
def test_a_router_with_pynacl_alone_can_import(module: str) -> None:
    done = core_only(f"import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (["map", "serve", "--ledger", "unix:x"], "coverage"),
        (["hotspot", "listen", "--codec", "scapy"], "scapy"),
        (["sim", "run", "builtin:city"], "sim"),
        (["chain", "run", "--dir", "ledger"], "gateway"),
        (["routing", "explain", "--model", "m"], "routing"),
    ],
)
def test_a_command_that_needs_more_names_the_extra(argv: list[str], extra: str) -> None:
    done = core_only(f"import wavecomb; sys.exit(wavecomb.main({argv!r}))")
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"pip install 'wavecomb[{extra}]'" in done.stderr
