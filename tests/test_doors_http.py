"""HTTP asked wrongly: the ledger, the map and the gateway say what to mend, never 5xx."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from doors_helpers import first_json, ledger_service, make_ledger, started, wait_for
from gateway_helpers import GatewayProcess, Town
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROVIDER = 'backend = "wordllama"\nmodels = ["wordllama"]'
Answer = tuple[int, str, Any]
MANY = "A" * (17 << 20)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ledger_service(make_ledger(tmp_path_factory.mktemp("town"))) as (url, _):
        yield url


@pytest.fixture(scope="module")
def coverage(ledger: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("map") / "map.log"
    with started(["map", "serve", "--ledger", ledger, "--port", 0, "--json"], log) as process:
        url: str = wait_for("map", lambda: first_json(log, process))["url"]
        wait_for("a map", lambda: ask(url, "GET", "/collections/cells/items")[0] == 200)
        yield url


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    town = Town(tmp_path_factory.mktemp("gateway"))
    try:
        town.open(1)
        yield GatewayProcess(town, 0, [], "127.0.0.1:9", PROVIDER)
    finally:
        town.close()


def ask(
    url: str,
    method: str,
    path: str,
    body: str | bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """(status, media type, JSON or text) of one request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        raw, media = answer.read(), answer.headers.get_content_type()
    finally:
        connection.close()
    return answer.status, media, json.loads(raw) if "json" in media and raw else raw


def check_problem(answer: Answer, status: int, *words: str) -> None:
    """RFC 9457, with a detail that names what to mend."""
    assert answer[0] == status, answer
    assert answer[1] == "application/problem+json", answer
    problem = answer[2]
    assert problem["status"] == status
    assert problem["title"]
    assert "\n" not in problem["detail"]
    for word in words:
        assert word in problem["detail"], problem


WIRE = base64.b64encode(b"\x84\x01\x01\x40\x80").decode()

LEDGER_BODIES = [
    ("{", "body"),
    ("", "body"),
    (b"\xff\xfe", "body"),
    ("[]", "records"),
    ("3", "records"),
    ("null", "records"),
    ("{}", "records"),
    ('{"records": "x"}', "records"),
    ('{"records": [3]}', "records"),
    ('{"records": ["***"]}', "records"),
    ('{"records": ["é"]}', "records"),
    ('{"records": ["A"]}', "records"),
    ('{"records": [], "colour": 3}', "colour"),
    (json.dumps({"records": [WIRE] * 1_001}), "at most 1000"),
    ("[" * 50_000, "body"),
]


@pytest.mark.parametrize(("body", "words"), LEDGER_BODIES)
def test_a_bad_submission_is_named(ledger: str, body: str | bytes, words: str) -> None:
    raw = body.encode() if isinstance(body, str) else body
    check_problem(ask(ledger, "POST", "/v1/records", raw), 400, words)


def test_a_body_without_an_end_is_refused(ledger: str) -> None:
    check_problem(ask(ledger, "POST", "/v1/records", MANY), 413)


def test_a_record_of_nonsense_is_an_answer_not_an_error(ledger: str) -> None:
    body = json.dumps({"records": [WIRE, base64.b64encode(b"").decode()]})
    status, _, answer = ask(ledger, "POST", "/v1/records", body)
    assert status == 200
    assert [result["accepted"] for result in answer["results"]] == [False, False]
    assert all(result["detail"] for result in answer["results"])


LEDGER_PATHS = [
    ("/v1/records?from=x", 400, "from"),
    ("/v1/records?from=-1", 400, "from"),
    ("/v1/records?from=²", 400, "from"),
    ("/v1/records?limit=0", 400, "limit"),
    ("/v1/records?limit=1001", 400, "limit"),
    ("/v1/records?from=99999999999999999999999", 400, "from"),
    ("/v1/records?colour=3", 400, "colour"),
    ("/v1/records?from=1&from=2", 400, "from"),
    ("/v1/records/xyz", 400, "id"),
    (f"/v1/records/{'ab' * 32}", 404, "id"),
    ("/v1/mix/x", 400, "epoch"),
    ("/v1/mix/999999", 404, "epoch"),
    ("/v1/mix/" + "9" * 5_000, 400, "epoch"),
    ("/v1/hotspots/99", 404, "id"),
    ("/v1/hotspots/xyz", 400, "id"),
    ("/v1/accounts/12", 400, "key"),
    ("/v1/sessions/5", 404, "index"),
    ("/v1/sessions/x", 400, "index"),
    ("/v1/verdicts", 400, "epoch"),
    ("/v1/verdicts?epoch=x", 400, "epoch"),
    ("/v1/beacons", 400, "epoch"),
    ("/v1/beacons?epoch=1.5", 400, "epoch"),
    ("/v1/payments?limit=x", 400, "limit"),
    ("/v1/consistency", 400, "old"),
    ("/v1/consistency?old=0", 400, "old"),
    ("/v1/consistency?old=5&new=99999", 400, "new"),
    ("/v1/explain/!!", 400, "id"),
    ("/v1/explain/1:2", 400, "id"),
    ("/v1/explain/0:x:0", 400, "id"),
    ("/v1/explain/0:99999999999999999999:0", 404, "id"),
    ("/v1/explain/99", 404, "id"),
    ("/v1/head?now=1", 400, "now"),
    ("/v1/stats?x", 400, "x"),
    ("/v1/nothing", 404, "/v1/nothing"),
    ("/", 404, "/"),
    ("/v1/hotspots/%00", 400, "id"),
    ("/v1/records/..%2f..%2fetc", 400, "id"),
]


@pytest.mark.parametrize(("path", "status", "words"), LEDGER_PATHS)
def test_a_bad_question_to_the_ledger_is_named(
    ledger: str, path: str, status: int, words: str
) -> None:
    check_problem(ask(ledger, "GET", path.replace("²", "%C2%B2")), status, words)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_a_wrong_method_is_named(ledger: str, coverage: str, method: str) -> None:
    check_problem(ask(ledger, method, "/v1/records", "{}"), 405, method)
    check_problem(ask(coverage, method, "/stats", "{}"), 405, method)


MAP_PATHS = [
    ("/collections/cells/items?bbox=1,2,3", 400, "bbox"),
    ("/collections/cells/items?bbox=a,b,c,d", 400, "bbox"),
    ("/collections/cells/items?bbox=0,50,1,40", 400, "bbox"),
    ("/collections/cells/items?bbox=nan,0,1,1", 400, "bbox"),
    ("/collections/cells/items?res=2", 400, "res"),
    ("/collections/cells/items?res=x", 400, "res"),
    ("/collections/cells/items?limit=0", 400, "limit"),
    ("/collections/cells/items?limit=many", 400, "limit"),
    ("/collections/cells/items?limit=5&limit=6", 400, "limit"),
    ("/collections/cells/items?cursor=zzz", 400, "cursor"),
    ("/collections/cells/items?min_obs=-1", 400, "min_obs"),
    ("/collections/cells/items?threshold_dbm=nan", 400, "threshold_dbm"),
    ("/collections/cells/items?threshold_dbm=5", 400, "threshold_dbm"),
    ("/collections/cells/items?snapshot=xyz", 400, "snapshot"),
    ("/collections/cells/items?snapshot=0123456789abcdef", 404, "snapshot"),
    ("/collections/cells/items?colour=3", 400, "colour"),
    ("/collections/hotspots/items?cursor=x", 400, "cursor"),
    ("/collections/hotspots/items?res=9", 400, "res"),
    ("/collections/gaps/items?threshold_dbm=x", 400, "threshold_dbm"),
    ("/collections/unicorns/items", 404, "unicorns"),
    ("/cells/xyz", 404, "h3"),
    ("/cells/ffffffffffffffffffffffff", 404, "h3"),
    ("/cells/8a1fb46622dffff?evidence=99", 400, "evidence"),
    ("/hotspots/99", 404, "index"),
    ("/hotspots/-1", 404, "index"),
    ("/hotspots/" + "9" * 5_000, 404, "index"),
    ("/dggs/h3/zones/xyz/data", 404, "cell"),
    ("/dggs/h3/zones/8a1fb46622dffff/data?zone-depth=9", 400, "zone-depth"),
    ("/dggs/h3/zones/8a1fb46622dffff/data?zone-depth=5", 400, "zone-depth"),
    ("/stats?x=1", 400, "x"),
    ("/nowhere", 404, "/nowhere"),
    ("/assets/absent.js", 404, "absent.js"),
    ("/assets/..%2f..%2fio_web.py", 404, "/assets/"),
]


@pytest.mark.parametrize(("path", "status", "words"), MAP_PATHS)
def test_a_bad_question_to_the_map_is_named(
    coverage: str, path: str, status: int, words: str
) -> None:
    check_problem(ask(coverage, "GET", path), status, words)


@given(
    st.sampled_from(["cells", "hotspots", "gaps"]),
    st.dictionaries(
        st.sampled_from(["bbox", "limit", "cursor", "res", "min_obs", "snapshot", "zone-depth"]),
        st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=12),
        max_size=3,
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_question_makes_the_map_fail(coverage: str, name: str, query: dict[str, str]) -> None:
    from urllib.parse import urlencode

    status, _, _ = ask(coverage, "GET", f"/collections/{name}/items?{urlencode(query)}")
    assert status in (200, 400, 404)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_identifier_makes_the_ledger_fail(ledger: str, text: str) -> None:
    from urllib.parse import quote

    for place in ("explain", "records", "hotspots", "accounts", "sessions", "mix"):
        status, _, _ = ask(ledger, "GET", f"/v1/{place}/{quote(text, safe='')}")
        assert status in (200, 400, 404), (place, text)


# --- the gateway ----------------------------------------------------------------------------------

EMBED = {"model": "wordllama", "input": ["hello"]}
BAD_CALLS = [
    ("embeddings", "{", 400, "body"),
    ("embeddings", "", 400, "body"),
    ("embeddings", "[" * 50_000, 400, "body"),
    ("embeddings", "[1]", 400, "body"),
    ("embeddings", '{"model": "wordllama", "input": "\\ud800"}', 400, "body"),
    ("embeddings", b"\xff\xfe", 400, "body"),
    ("embeddings", {}, 400, "model"),
    ("embeddings", {"model": 3, "input": "x"}, 400, "model"),
    ("embeddings", {"model": "gpt-9", "input": "x"}, 404, "gpt-9"),
    ("embeddings", {"model": "wordllama"}, 400, "input"),
    ("embeddings", {**EMBED, "input": 3}, 400, "input"),
    ("embeddings", {**EMBED, "input": []}, 400, "input"),
    ("embeddings", {**EMBED, "input": [[1.5]]}, 400, "input"),
    ("embeddings", {**EMBED, "input": [{"a": 1}]}, 400, "input"),
    ("embeddings", {**EMBED, "input": [""]}, 400, "input"),
    ("embeddings", {**EMBED, "encoding_format": "yaml"}, 400, "encoding_format"),
    ("embeddings", {**EMBED, "dimensions": "many"}, 400, "dimensions"),
    ("embeddings", {**EMBED, "dimensions": -3}, 400, "dimensions"),
    ("embeddings", {**EMBED, "dimensions": 10**9}, 400, "dimensions"),
    ("chat/completions", {"model": "wordllama"}, 400, "messages"),
    ("chat/completions", {"model": "wordllama", "messages": "hi"}, 400, "messages"),
    ("chat/completions", {"model": "wordllama", "messages": [3]}, 400, "messages"),
    ("chat/completions", {"model": "wordllama", "messages": []}, 400, "messages"),
    (
        "chat/completions",
        {"model": "wordllama", "messages": [{"role": "user", "content": "x"}], "max_tokens": "a"},
        400,
        "max_tokens",
    ),
    (
        "chat/completions",
        {"model": "wordllama", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1},
        400,
        "max_tokens",
    ),
    (
        "chat/completions",
        {"model": "wordllama", "messages": [{"role": "user", "content": "x"}]},
        404,
        "embeddings",
    ),
    ("completions", {"model": "wordllama"}, 400, "prompt"),
    ("completions", {"model": "wordllama", "prompt": [3]}, 400, "prompt"),
    ("embeddings", {**EMBED, "stream": "yes"}, 400, "stream"),
    ("embeddings", {**EMBED, "stream_options": 3}, 400, "stream_options"),
    (
        "chat/completions",
        {"model": "wordllama", "messages": [{"role": "user", "content": 5}]},
        404,
        "embeddings",
    ),
    ("embeddings", "A" * (9 << 20), 413, ""),
]


def check_openai_error(answer: Answer, status: int, words: str) -> None:
    """The shape that OpenAI's clients parse."""
    assert answer[0] == status, answer
    assert answer[1] == "application/json", answer
    error = answer[2]["error"]
    assert error["message"]
    assert "\n" not in error["message"]
    assert error["type"]
    assert words in error["message"], error


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD_CALLS)
def test_a_bad_call_is_named(
    gateway: GatewayProcess, path: str, body: Any, status: int, words: str
) -> None:
    raw = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = {"Authorization": f"Bearer {gateway.key}"}
    check_openai_error(ask(gateway.url, "POST", f"/v1/{path}", raw, headers), status, words)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "words"),
    [
        ("GET", "/v1/models", {}, 401, "gateway.key"),
        ("GET", "/v1/models", {"Authorization": "Bearer wrong"}, 401, "gateway.key"),
        ("GET", "/v1/models", {"Authorization": "Basic x"}, 401, "gateway.key"),
        ("GET", "/v1/models", {"Authorization": "Bearer ü"}, 401, "gateway.key"),
        ("GET", "/v1/models", {"Host": "evil.example"}, 403, "evil.example"),
        ("GET", "/json", {"Host": "evil.example"}, 403, "evil.example"),
        ("GET", "/v1/nothing", {}, 404, "/v1/nothing"),
        ("GET", "/v1/embeddings", {}, 405, "GET"),
        ("DELETE", "/v1/models", {}, 405, "DELETE"),
    ],
)
def test_a_stranger_is_told_why(
    gateway: GatewayProcess,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    words: str,
) -> None:
    check_openai_error(ask(gateway.url, method, path, None, headers), status, words)


def test_after_all_that_everything_still_answers(
    ledger: str, coverage: str, gateway: GatewayProcess, tmp_path: Path
) -> None:
    assert ask(ledger, "GET", "/v1/head")[2]["fault"] == ""
    assert ask(coverage, "GET", "/stats")[2]["ledger"]["state"] == "ok"
    headers = {"Authorization": f"Bearer {gateway.key}"}
    status, _, answer = ask(gateway.url, "POST", "/v1/embeddings", json.dumps(EMBED), headers)
    assert status == 200
    assert len(answer["data"]) == 1
