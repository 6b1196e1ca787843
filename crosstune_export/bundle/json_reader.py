"""Reads the fields of a JSON object with their types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from crosstune.core.errors import BundleContentError
from crosstune.core.strict_text import Json


class JsonReader:
    """Typed access to the fields of one JSON object, with the path of the field in every message.

    Every method raises a ``BundleContentError`` where the field is missing or of another type.
    """

    def __init__(self, where: str, body: Mapping[str, Json], path: str = "") -> None:
        self._where, self._body, self._path = where, body, path

    @property
    def keys(self) -> frozenset[str]:
        """The names of all fields."""
        return frozenset(self._body)

    def get(self, key: str, expected: str) -> Json:
        """The value of a field of any type; ``expected`` is for the message if it is missing."""
        if key not in self._body:
            raise self.error(key, "nothing", expected)
        return self._body[key]

    def error(self, key: str, value: object, expected: str) -> BundleContentError:
        """The error for a field that has another value than expected."""
        return BundleContentError(
            f"{self._where}: {self._path}{key} is {value}, expected {expected}. Build the bundle again."
        )

    def text(self, key: str) -> str:
        """A string."""
        value = self.get(key, "a string")
        if not isinstance(value, str):
            raise self.error(key, repr(value)[:80], "a string")
        return value

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self.get(key, "true or false")
        if not isinstance(value, bool):
            raise self.error(key, repr(value)[:80], "true or false")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``."""
        value = self.get(key, f"an integer from {low} to {high}")
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(key, repr(value)[:80], f"an integer from {low} to {high}")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """An array of ids, each from 0 to 2^31 - 1."""
        value = self.get(key, "an array of ids")
        if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 1 << 31 for item in value):
            raise self.error(key, repr(value)[:80], "an array of ids")
        return tuple(cast("list[int]", value))

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings."""
        value = self.get(key, "an array of strings")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, repr(value)[:80], "an array of strings")
        return tuple(cast("list[str]", value))

    def table(self, key: str) -> dict[str, Json]:
        """An object."""
        value = self.get(key, "an object")
        if not isinstance(value, dict):
            raise self.error(key, repr(value)[:80], "an object")
        return value

    def element(self, key: str, body: Mapping[str, Json]) -> JsonReader:
        """A reader of one object of an array, called ``key`` in messages."""
        return JsonReader(self._where, body, f"{self._path}{key}.")

    def inner(self, key: str) -> JsonReader:
        """A reader of an inner object."""
        return JsonReader(self._where, self.table(key), f"{self._path}{key}.")
