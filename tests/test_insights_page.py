"""The owner's page shows what the gateway foresees: own hotspot first, words escaped, ages told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_owner_page import sample_status

from hotspot.io_knock import INSIGHTS_MAX, WORDS_MAX, GatewayKnown, knock, read_insights
from hotspot.screen import INSIGHTS_SHOWN, main_html, terminal_lines
from routing.insights.insight import Insight

WORDS = {"kind": "failing", "gain": "a day of beacons"}


def row(hotspot: int, urgency: str = "urgent", link: list[int] | None = None) -> dict[str, Any]:
    one = Insight(
        **WORDS, urgency=urgency, hotspot=hotspot, link=tuple(link) if link else None,
        what=f"{hotspot} <will> fail", remedy=f"look after {hotspot}", weight=0.5, numbers={},
    )  # fmt: skip
    return one.as_json()


def body(*rows: Any) -> bytes:
    return json.dumps({"insights": list(rows)}).encode()


def status(known: GatewayKnown | None) -> dict[str, Any]:
    insights = None if known is None or known.insights is None else list(known.insights)
    shown = known and {"answers": known.answers, "insights": insights, "age_s": 42}
    return {**sample_status(), "gateway": shown}


@contextlib.contextmanager
def gateway(answer: bytes, code: int = 200) -> Iterator[tuple[str, int]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == "/insights" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_the_gateway_foresees_is_on_the_page_with_what_to_do() -> None:
    with gateway(body(row(9), row(7, "advice", [7, 4]))) as address:
        known = knock(address)
    html = main_html(status(known))
    assert "What will fail" in html
    assert "9 &lt;will&gt; fail" in html
    assert "<will>" not in html
    assert "To do: look after 9" in html
    assert html.index("link 7 &gt; 4") < html.index("hotspot 9")  # ours is 4
    assert "said so 42 s ago" in html
    lines = terminal_lines(status(known), 1)
    assert "? hotspot 9: 9 <will> fail" in lines
    assert not any("7 <will>" in line for line in lines)  # advice is for the page


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (GatewayKnown(True, ()), "Nothing: no hotspot"),
        (GatewayKnown(True, None), "has no insights"),
        (GatewayKnown(False), "doesn&#x27;t answer"),
    ],
)
def test_silence_and_health_are_told_apart(known: GatewayKnown, words: str) -> None:
    assert words.replace("&#x27;", "'") in main_html(status(known))


def test_without_a_gateway_in_the_settings_there_is_no_panel() -> None:
    assert "What will fail" not in main_html(status(None))
    assert "What will fail" not in main_html(sample_status())


def test_many_insights_are_cut_to_what_a_page_holds() -> None:
    rows = [{**row(n), "what": "x" * 5_000} for n in range(50)]
    known = read_insights(body(*rows))
    assert known is not None
    assert len(known) == INSIGHTS_MAX
    assert len(known[0]["what"]) == WORDS_MAX
    assert main_html(status(GatewayKnown(True, known))).count("look after") == INSIGHTS_SHOWN


@pytest.mark.parametrize(
    ("answer", "code"), [(b"", 200), (b"[]", 200), (b'{"insights": 3}', 200), (b"{}", 500)]
)
def test_a_gateway_that_answers_oddly_still_counts_as_answering(answer: bytes, code: int) -> None:
    with gateway(answer, code) as address:
        assert knock(address) == GatewayKnown(True, None)
    assert knock(address) == GatewayKnown(False)


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_junk_is_no_answer(junk: bytes) -> None:
    assert read_insights(junk) is None or json.loads(junk)["insights"] is not None


ODD = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(sorted(row(1))), inner, max_size=9),
    max_leaves=12,
)


@given(st.lists(ODD, max_size=4))
def test_only_sound_rows_reach_the_page(rows: list[Any]) -> None:
    known = read_insights(body(*rows, row(3)))
    assert known is not None
    assert "look after 3" in main_html(status(GatewayKnown(True, known)))
