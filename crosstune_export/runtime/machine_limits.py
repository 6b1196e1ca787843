"""Limits of a container or service manager on this process (Linux control groups, versions 2 and 1)."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 reports "no limit" as a huge number
_SELF = Path("/proc/self/cgroup")


def processor_limit(root: Path = _ROOT, membership: Path = _SELF) -> float | None:
    """Return the CPU limit of the control group, in processors; None without a limit.

    Args:
        root: Mount point of the control groups.
        membership: File that lists the control groups of this process.
    """
    limits = []
    for folder in _folders(root, membership, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_left_bytes(root: Path = _ROOT, membership: Path = _SELF) -> int | None:
    """Return the bytes that the control group still allows; None without a limit. Arguments as for ``processor_limit``."""
    left = []
    for folder in _folders(root, membership, "memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            allowed, in_use = _read(folder / limit), _read(folder / used)
            if not (allowed.isdigit() and in_use.isdigit()) or int(allowed) >= _NO_LIMIT:
                continue
            counts = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
            reclaimable = int(counts.get(cached, "0"))  # file cache, which the kernel frees when memory is needed
            left.append(max(0, int(allowed) - int(in_use) + reclaimable))
    return min(left, default=None)


def _folders(root: Path, membership: Path, controller: str) -> list[Path]:
    """Return the folders of this process's groups and all their parents; the strictest limit applies."""
    folders = [root, root / controller]
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or controller in controllers.split(","):
            top = root if controllers == "" else root / controller
            group = top / path.lstrip("/")
            folders += [group, *(parent for parent in group.parents if parent.is_relative_to(top))]
    return list(dict.fromkeys(folders))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
