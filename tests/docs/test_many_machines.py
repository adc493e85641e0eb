"""The page for several machines holds on one: NATS with TLS, two schedulers, hosts with keys."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.certificates import make_certificate
from tests.docs.pages import ROOT, Block, blocks_of
from tests.docs.session import Session, make_place
from tests.docs.typing_pages import type_block

pytestmark = [pytest.mark.e2e, pytest.mark.nats]

PAGE = ROOT / "docs" / "how-to" / "many-machines.md"
ADDRESS = "nats.example.com:4222"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_page_is_true_with_this_machine_as_all_machines(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    fleet = place.home / "fleet"
    fleet.mkdir(mode=0o700)
    certificate = make_certificate(fleet, "nats")
    shutil.copyfile(certificate.cert, fleet / "ca.pem")
    here = f"127.0.0.1:{free_port()}"
    blocks = [here_instead(block, here) for block in blocks_of(PAGE)]
    assert any(here in block.text for block in blocks)
    with Session(place) as session:
        for block in blocks:
            await type_block(session, block, foreign=())


def here_instead(block: Block, here: str) -> Block:
    return replace(block, text=block.text.replace(ADDRESS, here))
