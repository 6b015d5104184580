"""The official OpenAI client, across real processes and a lossy air, to real models, paid for."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from gateway_helpers import ROOT, Air, GatewayProcess, Town, wait_for

from hotspot.gateway.io_providers import WORDLLAMA_MODEL, load_wordllama

# client 0 - relay 1 - relay 2 - provider 3 (WordLlama); relay 2 - provider 4 (llama.cpp)
EDGES = {frozenset(e) for e in ((0, 1), (1, 2), (2, 3), (2, 4))}
RELAYS = {1: {0, 2}, 2: {1, 3, 4}}
LOSS_PERMILLE = 40


class Street:
    """Everything that the tests of this file share."""

    def __init__(self, town: Town, air: Air) -> None:
        self.town, self.air = town, air
        folder = town.folder
        script = str(ROOT / "tests" / "gateway_llama.py")
        llama = self.town.start("llama", [script, str(folder / "tiny.gguf")])
        address = wait_for("llama.cpp", lambda: _address_in(llama.said()))
        words = 'backend = "wordllama"'
        chat = f'backend = "openai"\nurl = "{address}/v1"\nmodels = ["tiny"]'
        self.llama_url = f"{address}/v1"
        self.words = GatewayProcess(self.town, 3, [2], self.air.address, words)
        self.chat = GatewayProcess(self.town, 4, [2], self.air.address, chat)
        self.client = GatewayProcess(self.town, 0, [1], self.air.address)
        self.openai = self.connect(self.client.key)
        wait_for("models", lambda: len(self.models()) == 2)

    def connect(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.client.url, api_key=key, max_retries=0, timeout=200)

    def models(self) -> set[str]:
        return {model.id for model in self.openai.models.list()}

    def status(self, gateway: GatewayProcess) -> dict[str, Any]:
        status, body = self.get(gateway, "/json")
        assert status == 200
        parsed: dict[str, Any] = json.loads(body)
        return parsed

    def get(
        self, gateway: GatewayProcess, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(gateway.url.split("/")[2], timeout=120)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def close(self) -> None:
        self.openai.close()


def _address_in(text: str) -> str:
    return next((row for row in text.splitlines() if row.startswith("http://")), "")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with contextlib.ExitStack() as stack:
        town = Town(tmp_path_factory.mktemp("street"))
        stack.callback(town.close)
        town.open(5)
        air = Air(town, RELAYS, EDGES, LOSS_PERMILLE)
        stack.callback(air.close)
        built = Street(town, air)
        stack.callback(built.close)
        yield built


TEXTS = ["a hotspot on the roof", "the quick brown fox", "Wellenwabe"]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings_over_three_hops_equal_the_model_itself(
    street: Street, encoding: str | None
) -> None:
    extra: dict[str, Any] = {} if encoding is None else {"encoding_format": encoding}
    answer = street.openai.embeddings.create(model=WORDLLAMA_MODEL, input=TEXTS, **extra)
    raw = [row.embedding for row in answer.data]
    if encoding == "base64":
        import base64

        raw = [list(np.frombuffer(base64.b64decode(str(text)), "<f4")) for text in raw]
    direct = load_wordllama().embed(TEXTS, norm=True)
    assert np.array_equal(np.asarray(raw, dtype=np.float32), direct)
    assert answer.usage.prompt_tokens > len(TEXTS)


def test_a_chat_streams_from_llama_cpp_to_the_client(street: Street) -> None:
    with openai.OpenAI(base_url=street.llama_url, api_key="none", max_retries=0) as direct_client:
        direct = _chat(direct_client)
    relayed = _chat(street.openai)
    assert relayed == direct
    assert len(relayed) > 1


def _chat(client: openai.OpenAI) -> list[str]:
    stream = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "say something"}],
        max_tokens=24,
        temperature=0,
        seed=1,
        stream=True,
    )
    return [c.choices[0].delta.content or "" for c in stream if c.choices]


def test_a_whole_chat_answer_comes_with_its_usage(street: Street) -> None:
    answer = street.openai.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hello"}], max_tokens=6, temperature=0
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    assert answer.choices[0].finish_reason == "length"


def test_relays_and_providers_are_paid_what_both_ends_signed(street: Street) -> None:
    street.openai.embeddings.create(model=WORDLLAMA_MODEL, input="pay for this")

    def claimed() -> bool:
        rows = street.town.sessions()
        paid = {row.payee for row in rows if row.claimed_ucr > 0}
        return paid >= {1, 2, 3}

    wait_for("claims", claimed)
    paying = {row["session"]: row for row in street.status(street.client)["paying"]}
    provider = {row["session"]: row for row in street.status(street.words)["paid"]}
    for there in street.town.sessions():
        assert there.payer == 0
        assert paying[there.index]["receipt_bytes"] >= there.relayed_bytes
        if there.payee == 3:
            assert provider[there.index]["receipt_tokens"] >= there.ai_tokens > 0
            assert provider[there.index]["ai_tokens"] == paying[there.index]["ai_tokens"]


def test_errors_are_in_openais_shape(street: Street) -> None:
    with pytest.raises(openai.NotFoundError, match="no hotspot in reach offers it"):
        street.openai.embeddings.create(model="gpt-99", input="x")
    with pytest.raises(openai.BadRequestError, match="input"):
        street.openai.embeddings.create(model=WORDLLAMA_MODEL, input=[])
    with pytest.raises(openai.BadRequestError, match="encoding_format"):
        street.openai.embeddings.create(
            model=WORDLLAMA_MODEL,
            input="x",
            encoding_format="hex",  # type: ignore[arg-type]
        )
    with (
        street.connect("wvc-wrong") as stranger,
        pytest.raises(openai.AuthenticationError, match="no valid key"),
    ):
        stranger.models.list()


def test_another_host_name_reaches_nothing(street: Street) -> None:
    headers = {"Host": "evil.example", "Authorization": f"Bearer {street.client.key}"}
    status, body = street.get(street.client, "/v1/models", headers)
    assert status == 403
    assert json.loads(body)["error"]["code"] == "bad_host"


def test_status_and_metrics_tell_the_state(street: Street) -> None:
    status = street.status(street.client)
    assert status["ledger"]["problem"] == ""
    assert {p["hotspot"] for p in status["providers"]} == {3, 4}
    assert [row["target"] for row in status["links"]] == [1]
    _, text = street.get(street.client, "/metrics")
    assert b"wavecomb_gateway_ledger_up 1\n" in text
    assert b'wavecomb_gateway_link_rtt_us{target="1"}' in text


def test_the_bearer_key_file_is_private(street: Street) -> None:
    assert (street.client.folder / "gateway.key").stat().st_mode & 0o777 == 0o600


def test_a_busy_port_is_one_clear_line(street: Street, tmp_path: Path) -> None:
    key = tmp_path / "hotspot.key"
    key.write_bytes((street.client.folder / "hotspot.key").read_bytes())
    key.chmod(0o600)
    busy = street.client.url.split("/")[2]
    config = tmp_path / "gateway.toml"
    config.write_text(f'[ledger]\nurl = "{street.town.url}"\n[gateway]\nlisten = "{busy}"\n')
    command = [sys.executable, "-m", "hotspot.gateway.io_main", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if busy in line]
    assert len(done.stderr.splitlines()) == 1


def test_a_killed_provider_comes_back_with_its_receipts(street: Street) -> None:
    street.openai.embeddings.create(model=WORDLLAMA_MODEL, input="before the kill")
    def signed() -> dict[int, dict[str, int]]:
        rows = street.status(street.words)["paid"]
        return {row["session"]: row for row in rows if row["receipt_sequence"]}

    wait_for("a receipt", lambda: bool(signed()), 20)
    before = signed()
    street.words.kill_and_restart()
    after = {row["session"]: row for row in street.status(street.words)["paid"]}
    for session, row in before.items():
        assert after[session]["receipt_sequence"] >= row["receipt_sequence"]

    def works() -> bool:
        try:
            street.openai.embeddings.create(model=WORDLLAMA_MODEL, input="after the kill")
        except openai.APIStatusError:
            return False
        return True

    wait_for("the provider", works, 40)
