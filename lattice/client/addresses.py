"""Where requests over HTTP reach a deployment: its routes at the addresses of the hosts."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from lattice.model.http import ANY, HttpAddress


def urls(addresses: Iterable[HttpAddress], hosts: Iterable[str]) -> list[str]:
    """Return the URLs of routes, each once, in their order.

    `hosts` are the URLs where hosts take requests. A route of any host name is there at each of
    them; one of a name at their schemes and ports, wherever that name leads.
    """
    bases = [urlsplit(url) for url in dict.fromkeys(hosts)]
    found: dict[str, None] = {}
    for address in addresses:
        for base in bases:
            if address.host == ANY:
                place = base.netloc
            else:
                place = f"{address.host}:{base.port}" if base.port else str(address.host)
            found[f"{base.scheme}://{place}{address.path}"] = None
    return list(found)
