"""Shared by all tests: where the third-party vectors are, and the rule that CI may skip nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two workers share the cores already: threads of their own make them many times slower.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A shell that runs the tests in the background lets them ignore Ctrl-C, and so would whatever they
# start: those that send it would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples are the same in every run, and however slow a busy machine draws and tries one, that is
# no failure: by default 200 ms are. The soak looks for new ones.
settings.register_profile(
    "wavecomb",
    deadline=None,
    derandomize=not os.environ.get("WAVECOMB_SOAK"),
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("wavecomb")

ROOT = Path(__file__).resolve().parent.parent
GROUND_TRUTH = ROOT.parent / "shared" / "ground-truth"


@pytest.fixture(scope="session")
def ground_truth() -> Path:
    """Folder of third-party vectors and traces; the test is skipped where it is absent."""
    if not GROUND_TRUTH.is_dir():
        pytest.skip("third-party vectors are not present: ../shared/ground-truth")
    return GROUND_TRUTH


@pytest.fixture(scope="module", autouse=True)
def _forget_applications() -> Iterator[None]:
    """aiohttp keeps the last 1,024 applications, and they all that they serve: maps and files."""
    yield
    forget = getattr(sys.modules.get("aiohttp.web_app"), "_cached_build_middleware", None)
    if forget is not None:
        forget.cache_clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The soak runs belong to `make soak`: without WAVECOMB_SOAK deselected, not skipped."""
    if os.environ.get("WAVECOMB_SOAK"):
        return
    soaks = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=soaks)
    items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With WAVECOMB_NO_SKIP set, a skipped test fails the run: CI installs all that tests need."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("WAVECOMB_NO_SKIP") or reporter is None or exitstatus:
        return
    if reporter.stats.get("skipped"):
        reporter.write_line("WAVECOMB_NO_SKIP is set and tests were skipped", red=True)
        session.exitstatus = 1
