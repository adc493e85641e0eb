"""What clients are told of the addresses of a host."""

from __future__ import annotations

import socket

import pytest

from hosts.http.front import NO_HTTP, url_of


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 8000), "https://127.0.0.1:8000"),
        (("::1", 80), "https://[::1]:80"),
        (("0.0.0.0", 80), f"https://{socket.gethostname()}:80"),
        (("::", 80), f"https://{socket.gethostname()}:80"),
    ],
)
def test_an_address_becomes_a_url_that_leads_there(address: tuple[str, int], url: str):
    assert url_of(address, "https") == url


def test_without_sockets_nothing_is_told():
    assert NO_HTTP.urls == ()
