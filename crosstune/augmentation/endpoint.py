"""Which server is asked, and how: no redirects, no plain http beyond this machine, no key in any message."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

from crosstune.core.errors import ConfigError, MissingExtraError

#: What stands where a secret was.
REMOVED = "[removed]"


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Attributes:
        base_url: Such as ``https://api.example.com/v1``, without a slash at its end.
        key: The key, or an empty string for a server on this machine that wants none.
        key_name: The environment variable it came from.
    """

    base_url: str
    key: str = field(repr=False)
    key_name: str

    @classmethod
    def resolve(cls, base_url: str, key_name: str, environment: Mapping[str, str] = os.environ) -> Endpoint:
        """Check the address and take the key from the environment.

        Raises:
            ConfigError: The address cannot be used or the key is not there.
            MissingExtraError: The openai SDK is not installed.
        """
        address = parse_base_url(base_url)
        if importlib.util.find_spec("openai") is None:
            raise MissingExtraError(
                "openai: not installed, expected for augmenting. Run: pip install 'crosstune-export[augment]'"
            )
        key = environment.get(key_name, "").strip()
        if not key and not is_on_this_machine(address):
            raise ConfigError(
                f"{key_name}: not in the environment, expected the key for {host_of(address)}. Export it."
            )
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"{key_name}: holds characters that no header can carry. Copy the key again.")
        return cls(address, key, key_name)

    @property
    def host(self) -> str:
        """Host and port, as messages name it."""
        return host_of(self.base_url)

    @property
    def proxy(self) -> str | None:
        """Host of the proxy that the environment asks for, or None; never one for a server on this machine."""
        parts = urllib.parse.urlsplit(self.base_url)
        if is_on_this_machine(self.base_url) or urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        proxies = urllib.request.getproxies()
        address = proxies.get(parts.scheme) or proxies.get("all")
        return host_of(address) if address else None

    def without_secrets(self, text: str) -> str:
        """The text with the key and the canary taken out, in every spelling that a server may echo."""
        from crosstune.augmentation.prompts import canary

        for secret in (self.key, canary()):
            if len(secret) >= 8:
                for spelling in {secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe="")}:
                    text = text.replace(spelling, REMOVED)
        return text


def parse_base_url(base_url: str) -> str:
    """The address without a slash at its end.

    Example:
        >>> parse_base_url("http://127.0.0.1:8080/v1/")
        'http://127.0.0.1:8080/v1'

    Raises:
        ConfigError: It is no https address, nor http on this machine, or holds a password or a query.
    """
    try:
        parts = urllib.parse.urlsplit(base_url.strip())
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError("base-url: not an address, expected such as https://api.example.com/v1.") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("base-url: holds a user or password, expected none. Put the key into the environment.")
    if parts.query or parts.fragment or not port_is_fine or not parts.hostname or parts.scheme not in ("http", "https"):
        raise ConfigError(
            f"base-url: found {parts.scheme}://{parts.hostname or ''}, expected such as https://api.example.com/v1, "
            "without a query."
        )
    address = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    if parts.scheme == "http" and not is_on_this_machine(address):
        raise ConfigError(
            f"base-url: http to {parts.hostname} would send key and texts in the clear, expected https. Use http on loopback only."
        )
    return address


def is_on_this_machine(address: str) -> bool:
    """Whether the address is on loopback by its text alone; no name is looked up."""
    host = urllib.parse.urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(address: str) -> str:
    """Host and port of an address, without user or password."""
    return urllib.parse.urlsplit(address).netloc.rpartition("@")[2]
