"""The server: checks its address, reads the API key, and removes secrets from messages."""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import json
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

from crosstune.core.errors import ConfigError, MissingExtraError

#: Replacement for secrets in messages.
REMOVED = "[removed]"


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Attributes:
        base_url: Base URL such as ``https://api.example.com/v1``, without a slash at its end.
        key: API key; empty for a server on this machine without one.
        key_name: Environment variable of the key.
    """

    base_url: str
    key: str = field(repr=False)
    key_name: str

    @classmethod
    def resolve(cls, base_url: str, key_name: str, environment: Mapping[str, str] = os.environ) -> Endpoint:
        """Check the address, and read the key from the environment.

        Raises:
            ConfigError: The address is invalid, or the key is missing or invalid.
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
            raise ConfigError(f"{key_name}: contains characters that are not allowed in a header. Copy the key again.")
        return cls(address, key, key_name)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return host_of(self.base_url)

    @property
    def proxy(self) -> str | None:
        """Host of the proxy in the environment; None without a proxy, and for a server on this machine."""
        parts = urllib.parse.urlsplit(self.base_url)
        if is_on_this_machine(self.base_url) or urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        proxies = urllib.request.getproxies()
        address = proxies.get(parts.scheme) or proxies.get("all")
        return host_of(address) if address else None

    def without_secrets(self, text: str) -> str:
        """Return the text without the key and the canary, plain, JSON-escaped, URL-encoded or in Base64."""
        from crosstune.augmentation.prompts import canary

        for secret in (self.key, canary()):
            if len(secret) >= 8:
                for spelling in {secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe="")}:
                    text = text.replace(spelling, REMOVED)
                text = _without_base64(text, secret)
        return text


def _without_base64(text: str, secret: str) -> str:
    """Return the text without runs of Base64, of either alphabet, that contain the secret."""

    def removed(run: re.Match[str]) -> str:
        digits = run[0].replace("-", "+").replace("_", "/")
        for start in range(4):  # the run may begin with characters of another word
            part = digits[start:]
            if secret.encode() in base64.b64decode(part + "A" * (-len(part) % 4)):
                return REMOVED
        return run[0]

    return re.sub(r"[A-Za-z0-9+/_-]{10,}={0,2}", removed, text)


def parse_base_url(base_url: str) -> str:
    """Check a base URL, and return it without a slash at its end.

    Examples:
        >>> parse_base_url("http://127.0.0.1:8080/v1/")
        'http://127.0.0.1:8080/v1'

    Raises:
        ConfigError: The URL is not https (or http on this machine), or contains a password or a query.
    """
    try:
        parts = urllib.parse.urlsplit(base_url.strip())
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError("base-url: not an address, expected such as https://api.example.com/v1.") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("base-url: contains a user or password, expected none. Put the key into the environment.")
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
    """Whether the address is a loopback address; names are not resolved."""
    host = urllib.parse.urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(address: str) -> str:
    """Return host and port of an address, without user or password."""
    return urllib.parse.urlsplit(address).netloc.rpartition("@")[2]
