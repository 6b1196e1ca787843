"""Collected by ``make test-optimum`` alone, in an environment that has optimum and the older transformers it needs."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("optimum") else ["test_*.py"]
