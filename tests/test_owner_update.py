"""Upgrades: signed or nothing, judged by the version before, and bootable wherever they are cut."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from doors_helpers import Done, check_clear, run, wait_for
from hypothesis import given
from hypothesis import strategies as st
from update_helpers import KILLED, MODULE, Releaser, run_cut_at

from chain.keys import public_key, sign
from chain.records import Refusal
from hotspot import io_update
from hotspot.update import (
    LAUNCHER,
    NO_NETWORK,
    PROGRAM,
    TAG,
    Release,
    ReleaseFile,
    ReleaseKeys,
    Slot,
    format_keys,
    get_step_refusal,
    is_blamed,
    judge_trial,
    make_manifest,
    order_of,
    parse_keys,
    parse_slot,
    read_manifest,
)

SEEDS = [bytes((n,)) * 32 for n in range(4)]
KEYS = ReleaseKeys(2, tuple(public_key(seed) for seed in SEEDS[:3]))
RELEASE = Release("1.2.0", 1_700_000_000_000, (ReleaseFile("w-1.2.0.whl", 9, sha256().digest()),))
MANIFEST = make_manifest(RELEASE)


def signatures(*seeds: bytes, over: bytes = MANIFEST) -> bytes:
    rows = [f"{public_key(s).hex()} {sign(s, TAG, NO_NETWORK, over).hex()}" for s in seeds]
    return "\n".join(rows).encode()


# --- what a release is ----------------------------------------------------------------------------


def test_enough_known_keys_make_a_release() -> None:
    assert read_manifest(MANIFEST, signatures(SEEDS[0], SEEDS[2]), KEYS) == RELEASE


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b"\xff\xfe nonsense\n\n",
        signatures(SEEDS[0]),
        signatures(SEEDS[0], SEEDS[0]),  # one key twice
        signatures(SEEDS[0], SEEDS[3]),  # a stranger's
        signatures(SEEDS[0], SEEDS[1], over=MANIFEST + b" "),
    ],
)
def test_anything_else_is_none(signed: bytes) -> None:
    refusal = read_manifest(MANIFEST, signed, KEYS)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "not_signed"


@given(at=st.integers(0, len(MANIFEST) - 1), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(at: int, bit: int) -> None:
    changed = bytearray(MANIFEST)
    changed[at] ^= 1 << bit
    found = read_manifest(bytes(changed), signatures(*SEEDS[:3]), KEYS)
    assert isinstance(found, Refusal)


@pytest.mark.parametrize(
    "files",
    [
        (),
        (ReleaseFile("../evil.whl", 9, bytes(32)),),
        (ReleaseFile("/etc/passwd", 9, bytes(32)),),
        (ReleaseFile("w.whl", 0, bytes(32)),),
        (ReleaseFile("w.whl", 1 << 40, bytes(32)),),
        (ReleaseFile("w.whl", 9, bytes(31)),),
    ],
)
def test_even_a_signed_manifest_names_only_wheels_of_a_sane_size(files: object) -> None:
    manifest = make_manifest(Release("1.0", 0, files))  # type: ignore[arg-type]
    found = read_manifest(manifest, signatures(*SEEDS[:2], over=manifest), KEYS)
    assert isinstance(found, Refusal)
    assert found.reason == "bad_manifest"


def test_versions_follow_each_other_as_people_expect() -> None:
    texts = ["0.9", "1.0.dev3", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.post1", "1.0.1", "1.10"]
    shuffled = sorted(texts, key=lambda text: sha256(text.encode()).digest())
    assert sorted(shuffled, key=order_of) == texts
    assert order_of("1.0") == order_of("1.0.0")


def test_slots_and_keys_survive_their_files() -> None:
    for slot in (Slot("1.1", "1.0", None), Slot("1.1", "1.0", 2)):
        assert parse_slot(slot.line) == slot
    assert parse_keys(format_keys(KEYS)) == KEYS
    for text in ("", "x", "0\n", "3\n" + "00" * 32, "1\nabcd"):
        assert isinstance(parse_keys(text), Refusal)
    for text in ("", "1.0", "1.0 1.0 x"):
        assert isinstance(parse_slot(text), Refusal)


def test_only_the_next_release_is_a_step() -> None:
    proven = Slot("1.1", "1.0", None)
    assert get_step_refusal(proven, RELEASE, ()) is None
    for slot, rejected, reason in (
        (Slot("1.1", "1.0", 1), (), "on_trial"),
        (Slot("1.2", "1.1", None), (), "not_newer"),
        (proven, ("1.2.0",), "rejected"),
    ):
        refusal = get_step_refusal(slot, RELEASE, rejected)
        assert refusal is not None
        assert refusal.reason == reason


def test_a_trial_passes_with_a_beacon_and_a_content_doctor() -> None:
    state = {"name": "LISTEN", "reason": "not bound yet"}
    said = {"pid": 7, "state": state, "counts": {"beacons": 1}}
    ledger = {"name": "ledger", "verdict": "bad", "seen": "away"}
    radio = {"name": "radio", "verdict": "bad", "seen": "refused"}
    assert judge_trial(said, 7, [ledger]) == ""
    assert "refused" in judge_trial(said, 7, [ledger, radio])
    assert "no beacon yet" in judge_trial({**said, "counts": {}}, 7, [])
    assert "could not start" in judge_trial({**said, "stopped": "radio"}, 7, [])
    assert judge_trial(said, 8, [])
    assert judge_trial(None, 7, [])


def test_a_release_isnt_blamed_for_what_it_waited_for() -> None:
    for name, blamed in (("CLOCK", False), ("LISTEN", False), ("BEACON", True), ("RADIO", True)):
        assert is_blamed({"pid": 7, "state": {"name": name}}, 7) == blamed
    assert is_blamed(None, 7)
    assert is_blamed({"pid": 6, "state": {"name": "CLOCK"}}, 7)
    assert is_blamed({"pid": 7, "state": {"name": "CLOCK"}, "stopped": "radio"}, 7)


# --- on a machine ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Releaser:
    made = Releaser(tmp_path_factory.mktemp("adopted"))
    made.adopt(made.make("1.0"))
    return made


@pytest.fixture
def releaser(adopted: Releaser, tmp_path: Path) -> Releaser:
    return adopted.copy(tmp_path)


def update(releaser: Releaser, action: str, *rest: object) -> Done:
    return run("hotspot", "update", action, "--root", releaser.root, *rest)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)


def test_a_good_release_proves_itself(releaser: Releaser) -> None:
    place = releaser.make("1.1")
    assert releaser.slot == "1.0 1.0 -"
    assert update(releaser, "check", "--from", place).code == 0
    assert update(releaser, "apply", "--from", f"file://{place}").code == 0
    assert releaser.slot == "1.1 1.0 0"
    assert update(releaser, "status").code == 1
    daemon = releaser.start()
    wait_for("the trial", lambda: releaser.slot == "1.1 1.0 -", 120)
    assert update(releaser, "status", "--json").code == 0
    check_clear(update(releaser, "apply", "--from", place), "newer")
    assert update(releaser, "check", "--from", place).code == 1
    stop(daemon)
    assert update(releaser, "rollback").code == 0
    assert releaser.says() == "wavecomb 1.0"
    check_clear(update(releaser, "apply", "--from", place), "--force")
    assert update(releaser, "apply", "--from", place, "--force").code == 0


def test_a_release_that_could_only_wait_is_taken_back_and_may_come_again(
    releaser: Releaser,
) -> None:
    place = releaser.make("1.1", "waiting")
    assert update(releaser, "apply", "--from", place).code == 0
    releaser.start(trial_s=3).communicate(timeout=120)
    assert releaser.slot == "1.0 1.1 -"
    assert update(releaser, "apply", "--from", place).code == 0


@pytest.mark.parametrize("temper", ["mute", "faulty"])
def test_a_release_that_works_badly_is_taken_back(releaser: Releaser, temper: str) -> None:
    assert update(releaser, "apply", "--from", releaser.make("1.1", temper)).code == 0
    daemon = releaser.start(trial_s=4)
    said = daemon.communicate(timeout=120)[0]
    assert daemon.returncode == 0, "SIGTERM, so that the service manager starts it anew"
    assert "back to   1.0" in said
    assert releaser.slot == "1.0 1.1 -"
    assert json.loads(update(releaser, "status", "--json").out)["rejected"] == ["1.1"]
    again = releaser.start()
    status = releaser.config.parent / "status.json"
    wait_for("1.0", lambda: json.loads(status.read_text())["ran"] == "1.0")
    stop(again)


def test_a_release_that_crashes_is_taken_back_at_its_fourth_start(releaser: Releaser) -> None:
    assert update(releaser, "apply", "--from", releaser.make("1.1", "crash")).code == 0
    for tries in (1, 2, 3):
        crashed = releaser.start()
        crashed.communicate(timeout=120)
        assert crashed.returncode == 3
        assert releaser.slot == f"1.1 1.0 {tries}"
    daemon = releaser.start()
    wait_for("1.0", lambda: releaser.slot == "1.0 1.1 -")
    assert daemon.poll() is None
    stop(daemon)


def test_a_release_that_is_gone_falls_back_at_once(releaser: Releaser) -> None:
    assert update(releaser, "apply", "--from", releaser.make("1.1")).code == 0
    shutil.rmtree(releaser.root / "releases" / "1.1")
    assert releaser.says() == "wavecomb 1.0"
    assert releaser.slot == "1.0 1.1 -"


def test_what_was_not_signed_is_never_unpacked(releaser: Releaser, tmp_path: Path) -> None:
    place = releaser.make("1.1")
    (wheel,) = place.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    check_clear(update(releaser, "apply", "--from", place), "isn't the file that was signed")
    wheel.write_bytes(bytes(1 << 16))
    check_clear(update(releaser, "apply", "--from", place), "longer")
    manifest = place / "release.json"
    manifest.write_text(manifest.read_text().replace('"1.1"', '"1.2"'))
    check_clear(update(releaser, "apply", "--from", place), "0 of 1 known release keys")
    check_clear(update(releaser, "apply", "--from", tmp_path / "absent"), "--from")
    check_clear(update(releaser, "apply"), "--from")
    assert releaser.slot == "1.0 1.0 -"
    assert releaser.says() == "wavecomb 1.0"


def test_a_release_that_cant_even_say_its_version_changes_nothing(releaser: Releaser) -> None:
    place = releaser.make("1.1")
    (wheel,) = place.glob("*.whl")
    wheel.unlink()
    (place / "release.json").unlink()
    (place / "release.sig").unlink()
    other = releaser.make("9.9")
    shutil.copy(next(other.glob("*.whl")), wheel)  # it calls itself 9.9
    signed = run("hotspot", "update", "sign", "--dir", place, "--release-key", releaser.key_file)
    assert signed.code == 0, signed
    check_clear(update(releaser, "apply", "--from", place), "fails its check")
    assert releaser.slot == "1.0 1.0 -"


# --- power cuts -----------------------------------------------------------------------------------


def options_of(releaser: Releaser, place: Path) -> argparse.Namespace:
    return argparse.Namespace(
        root=releaser.root, source=str(place), force=False, restart="", json=True
    )


def picture(root: Path) -> str:
    """What is on the disk, in a digest."""
    rows = [
        f"{path.relative_to(root)} {path.read_bytes().hex() if path.is_file() else ''}"
        for path in sorted(root.rglob("*"))
    ]
    return sha256("\n".join(rows).encode()).hexdigest()


def test_cut_before_any_line_it_boots_and_the_upgrade_goes_on(
    releaser: Releaser, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = releaser.make("1.1")
    monkeypatch.setattr(io_update, "_try_program", lambda *_: None)  # it only reads
    options = options_of(releaser, place)
    clean = releaser.folder / "clean"
    shutil.copytree(releaser.root, clean)
    seen: set[str] = set()
    files = ("io_update.py", "io_release.py", "hotspot/update.py")
    line, code = 0, KILLED
    while code == KILLED:
        line += 1
        shutil.rmtree(releaser.root)
        shutil.copytree(clean, releaser.root)
        code = run_cut_at(lambda: io_update.apply(options), files, line)
        assert code in (0, KILLED)
        if (now := picture(releaser.root)) in seen:
            continue
        seen.add(now)
        check_bootable(releaser)
        if releaser.slot != "1.1 1.0 0":
            assert releaser.slot == "1.0 1.0 -"
            assert run_cut_at(lambda: io_update.apply(options), files, 0) == 0
        assert releaser.slot == "1.1 1.0 0"
        check_bootable(releaser)
    assert releaser.says() == "wavecomb 1.1"
    assert line > 150, "every line of an upgrade was cut at"
    assert len(seen) >= 8, "and that left many different disks"


def check_bootable(releaser: Releaser) -> None:
    """The release that the slot names is whole: every file is as its maker packed it."""
    version = releaser.slot.split()[0]
    place = releaser.root / "releases" / version
    packed = MODULE.format(version=version, temper="good")
    assert (place / "site" / "wavecomb.py").read_text() == packed
    program = place / "bin" / "wavecomb"
    assert program.read_text() == PROGRAM.format(python=shlex.quote(sys.executable))
    assert os.access(program, os.X_OK)
    assert os.access(releaser.root / "start", os.X_OK)


def test_the_launcher_boots_from_every_line_that_a_cut_can_leave(releaser: Releaser) -> None:
    assert update(releaser, "apply", "--from", releaser.make("1.1")).code == 0
    for slot, draft in (("1.1 1.0 0", ""), ("1.1 1.0 3", "1."), ("1.0 1.1 -", "1.1 1.0 1\n")):
        (releaser.root / "slot").write_text(f"{slot}\n")
        (releaser.root / "slot.new").write_text(draft)
        assert releaser.says() == f"wavecomb {slot.split()[0]}"


def test_the_launcher_is_plain_posix_shell(tmp_path: Path) -> None:
    (tmp_path / "start").write_text(LAUNCHER)
    for shell in ("dash", "bash", "busybox"):
        if shutil.which(shell):
            words = [shell, "sh"] if shell == "busybox" else [shell]
            done = subprocess.run([*words, "-n", tmp_path / "start"], capture_output=True)
            assert done.returncode == 0, done.stderr
    assert os.access("/bin/sh", os.X_OK)
