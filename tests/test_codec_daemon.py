"""`--codec scapy` changes who reads and writes frames, and nothing else that a hotspot does."""

from __future__ import annotations

from pathlib import Path

import node_helpers
import pytest
from doors_helpers import check_clear, run
from node_helpers import Bench, received
from test_codec_mutations import SCAPY_BITS, mutated

from hotspot.config import parse_config
from hotspot.node import HotspotNode
from hotspot.radio.codec import FAST, Codec, get_codec

CELL = "891e35a3393ffff"


def life(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """What three hotspots do in eight epochs, on a channel with broken frames as well."""

    def with_codec(*args: object, **rest: object) -> HotspotNode:
        return HotspotNode(*args, **rest, codec=codec)  # type: ignore[arg-type]

    monkeypatch.setattr(node_helpers, "HotspotNode", with_codec)
    bench = Bench(("a", "b", "c"))
    bench.run_until(4)
    pool = [received(bench.sent["a"][-1].frame)] * 5
    broken = [mutated(pool, number) for number in range(300)]
    for frame in broken:
        if not int.from_bytes(frame[4:8], "little") & ~SCAPY_BITS:  # fields that scapy can place
            for node in bench.nodes.values():
                node.receive_frame(frame, bench.now_ns)
    bench.run_until(8.9)
    frames = {name: [action.frame for action in sent] for name, sent in bench.sent.items()}
    heard = {
        name: [node.counts[word] for word in ("heard", "echo", "beacons", "messages", "repeat")]
        for name, node in bench.nodes.items()
    }
    return frames, bench.kept, bench.messages, heard


def test_a_hotspot_lives_the_same_life_with_either_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = life(FAST, monkeypatch)
    assert fast == life(get_codec("scapy"), monkeypatch)
    heard = fast[3]
    assert isinstance(heard, dict)
    assert all(counts[0] >= 10 and counts[2] >= 5 for counts in heard.values())


def test_the_settings_and_the_command_choose_the_codec(tmp_path: Path) -> None:
    text = f'[hotspot]\ncell = "{CELL}"\n[radio]\ncodec = "scapy"\n'
    assert get_codec(parse_config(text, "test").radio.codec).name == "scapy"
    (tmp_path / "hotspot.toml").write_text(text)
    done = run("hotspot", "run", "--config", tmp_path / "hotspot.toml", "--codec", "morse")
    check_clear(done, "--codec")
    odd = run("hotspot", "run", "--config", tmp_path / "hotspot.toml", "--radio", "hostapd:/x")
    check_clear(odd, "radio.listen")
