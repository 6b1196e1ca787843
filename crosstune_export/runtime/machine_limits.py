"""Limits that a container or service manager puts on this process (Linux control groups, versions 2 and 1)."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 says "none" by a huge number
_SELF = Path("/proc/self/cgroup")


def processor_limit(root: Path = _ROOT, own: Path = _SELF) -> float | None:
    """Processors' worth of time that the control group allows; None where there is no limit.

    Args:
        root: Where control groups are mounted.
        own: The file that says which ones this process is in.
    """
    limits = []
    for folder in _folders(root, own, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_left_bytes(root: Path = _ROOT, own: Path = _SELF) -> int | None:
    """Bytes that the control group still allows; None where there is no limit."""
    left = []
    for folder in _folders(root, own, "memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            allowed, taken = _read(folder / limit), _read(folder / used)
            if not (allowed.isdigit() and taken.isdigit()) or int(allowed) >= _NO_LIMIT:
                continue
            counts = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
            given_back_at_need = int(counts.get(cached, "0"))
            left.append(max(0, int(allowed) - int(taken) + given_back_at_need))
    return min(left, default=None)


def _folders(root: Path, own: Path, controller: str) -> list[Path]:
    """The folders of this process's groups and of all above them: the tightest limit counts."""
    found = [root, root / controller]
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or controller in controllers.split(","):
            top = root if controllers == "" else root / controller
            below = top / path.lstrip("/")
            found += [below, *(parent for parent in below.parents if parent.is_relative_to(top))]
    return list(dict.fromkeys(found))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
