"""The names under which a server on loopback answers.

A web page whose name was made to point to this machine could otherwise read the answers.
"""

from __future__ import annotations

import ipaddress


def loopback_hosts(host: str, address: str) -> frozenset[str] | None:
    """Return the names that requests on loopback may be for; None if the server listens on other addresses too."""
    if not ipaddress.ip_address(address).is_loopback:
        return None
    return frozenset({"localhost", "127.0.0.1", "[::1]", host.lower(), f"[{address}]" if ":" in address else address})


def is_for(hosts: frozenset[str] | None, header: str) -> bool:
    """Return whether a request with this ``Host`` header, with or without a port, is for one of the names; None is any."""
    name = header[: header.find("]") + 1] if header.startswith("[") else header.partition(":")[0]
    return hosts is None or name.lower() in hosts
