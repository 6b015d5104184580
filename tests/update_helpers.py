"""Releases made in a moment: a wheel with one module that plays a daemon of some temper."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

from doors_helpers import ROOT, environment

import wavecomb
from chain.io_keys import load_or_create_seed
from chain.keys import public_key

# All but `hotspot run` is our real code; the daemon is played, so that a test needn't wait
# for an epoch. Tempers: good, mute (never beacons), waiting (for the ledger), crash (ends at once),
# faulty (names a fault).
MODULE = '''
import json, os, signal, sys, time
__version__ = "{version}"
def daemon(config):
    if "{temper}" == "crash":
        return 3
    folder, stop = os.path.dirname(os.path.abspath(config)), []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    dead = {{"TX_DEAD": {{"detail": "no echo", "remedy": "none"}}}}
    fault = dead if "{temper}" == "faulty" else {{}}
    state = "LISTEN" if "{temper}" == "waiting" else "BEACON"
    while not stop:
        said = {{"at_ms": time.time_ns() // 10**6, "pid": os.getpid(), "index": 1, "epoch": 5,
            "state": {{"name": state, "reason": "test", "age_s": 1}}, "faults": fault,
            "queue": {{"new": 0, "dropped": 0}}, "heard": {{}}, "radio": "mock", "ran": __version__,
            "counts": {{"beacons": 0 if "{temper}" in ("mute", "waiting") else 1}}}}
        with open(folder + "/status.tmp", "w") as out:
            json.dump(said, out)
        os.replace(folder + "/status.tmp", folder + "/status.json")
        time.sleep(0.05)
    return 0
def await_word(argv):  # the trial's time begins when the daemon has said something, or ended
    root, pid = (argv[argv.index(name) + 1] for name in ("--root", "--pid"))
    with open(root + "/config") as text:
        status = os.path.join(os.path.dirname(text.read().strip()), "status.json")
    for _ in range(1200):
        try:
            with open("/proc/" + pid + "/stat") as text:
                if text.read().rpartition(")")[2].split()[0] in "ZX":
                    return
            with open(status) as text:
                if json.load(text)["pid"] == int(pid):
                    return
        except (OSError, ValueError):
            if not os.path.exists("/proc/" + pid):
                return
        time.sleep(0.05)
def main():
    argv = sys.argv[1:]
    if argv == ["--version"]:
        print("wavecomb " + __version__)
        return 0
    if argv[:2] == ["hotspot", "run"]:
        return daemon(argv[3])
    if "update" in argv and "watch" in argv:
        await_word(argv)
        argv += ["--within", os.environ.get("TRIAL_S", "20")]
    from chain.io_terminal import run_command
    from hotspot import io_cli
    return run_command(io_cli.main, argv[1:])
if __name__ == "__main__":
    sys.exit(main())
'''


def say(*words: object) -> None:
    """Run a command in this process; it must succeed."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert wavecomb.main([str(word) for word in words]) == 0


class Releaser:
    """Makes signed releases in folders, and a hotspot that is under them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file = folder / "release.key"
        self.key = public_key(load_or_create_seed(self.key_file))
        self.root = folder / "app"
        self.config = folder / "spot" / "hotspot.toml"
        if not self.config.exists():
            where = ("--lat", "40.7", "--lon", "-74.0")
            say("hotspot", "init", "--dir", folder / "spot", *where)

    def copy(self, folder: Path) -> Releaser:
        """The same, elsewhere."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        made = Releaser(folder)
        (made.root / "config").write_text(f"{made.config}\n")
        return made

    def make(self, version: str, temper: str = "good") -> Path:
        """A folder with a signed release."""
        place = self.folder / f"release-{version}"
        place.mkdir()
        with zipfile.ZipFile(place / f"wavecomb-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("wavecomb.py", MODULE.format(version=version, temper=temper))
        say("hotspot", "update", "sign", "--dir", place, "--release-key", self.key_file)
        return place

    def adopt(self, place: Path) -> None:
        config = ("--config", self.config, "--key", self.key.hex())
        say("hotspot", "update", "adopt", "--root", self.root, "--from", place, *config)

    def start(self, *words: str, trial_s: float = 90) -> subprocess.Popen[str]:
        """What a service manager does."""
        return subprocess.Popen(
            [self.root / "start", *words],
            env={**environment(), "TRIAL_S": str(trial_s)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def says(self) -> str:
        """The version that would start."""
        done = self.start("--version")
        return done.communicate(timeout=120)[0].strip()

    @property
    def slot(self) -> str:
        return (self.root / "slot").read_text().strip()


# Run a function in a child that dies, as if the power went, before its n-th line in some files.
KILLED = 137


def run_cut_at(call: object, files: tuple[str, ...], line: int) -> int:
    """The child's exit code: KILLED if it got that far, 0 if it ended before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which this child has not
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    gc.disable()  # what others left behind may want to be destroyed with its threads
    seen = 0

    def trace(frame, event, _):  # type: ignore[no-untyped-def]
        nonlocal seen
        if not frame.f_code.co_filename.endswith(files):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os._exit(KILLED)
        return trace

    code = 1
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        sys.settrace(trace)
        code = call()  # type: ignore[operator]
    finally:
        os._exit(code)


__all__ = ["KILLED", "ROOT", "Releaser", "run_cut_at"]
