"""Services in a lattice of real processes, as a person sees them."""

from __future__ import annotations

import pytest

from lattice.errors import ConflictError
from lattice.testing import eventually
from tests.e2e.conftest import lattice_up
from tests.e2e.running import PATIENCE_S, client_of, deploy
from tests.guests.languages.building import c_command
from tests.integration.service_guests import interface_of, process, stepper

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm]


async def test_a_crash_loop_is_shown_with_the_hosts_own_words_wherever_it_is_tried(lattice):
    async with client_of(lattice) as client:
        body = await client.connection.artifacts.put(process("unreachable"))
        restart = {"backoff": ["1ms", "20ms"], "max": 100_000}
        crawl = {"name": "crawl", "image": body, "restart": restart}
        await client.apply({"lattice": "v1", "name": "crawls", "services": [crawl]}, wait=False)
        shown = {}

        async def both_hosts_have_shown_it():
            listed = await client.replicas("crawls")
            looping = [each for each in listed.replicas if each.state == "crash-loop"]
            shown.update({each.host_name: each.reason for each in looping})
            return len(shown) == 2

        await eventually(both_hosts_have_shown_it, timeout_s=PATIENCE_S)
        for reason in shown.values():
            assert reason.startswith("service crawl failed ")
            assert "(crash loop)" in reason
            assert "unreachable" in reason
        described = lattice.ok("describe", "crawls").out
        assert "service crawl failed " in described
        await client.delete("crawls")


async def test_a_chain_that_comes_back_to_a_service_is_told_to_the_caller(lattice):
    async with client_of(lattice) as client:
        index = interface_of("index")
        parts = {"index-service": stepper("index", "rank"), "rank": stepper("rank", "index")}
        await deploy(client, "docs", parts, expose=[index])
        assert await client.call("docs", f"{index}#down", [1]) == 1
        with pytest.raises(ConflictError, match="index-service#down -> rank#down -> index-service"):
            await client.call("docs", f"{index}#down", [2])
        await client.delete("docs")


async def test_a_directory_that_up_grants_is_seen_by_a_process(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "words").write_text("from the machine\n")
    crawl = {
        "name": "crawl",
        "args": ["--cat", "/data/words"],
        "directories": [{"grant": "corpus", "path": "/data"}],
    }
    with lattice_up(tmp_path / "home", f"--grant-directory=corpus={corpus}:ro") as lattice:
        async with client_of(lattice) as client:
            crawl["image"] = await client.connection.artifacts.put(c_command().read_bytes())
            await client.apply({"lattice": "v1", "name": "crawls", "services": [crawl]}, wait=True)

            def is_told():
                return "from the machine" in lattice.ok("logs", "crawls").out

            await eventually(is_told, timeout_s=PATIENCE_S)
