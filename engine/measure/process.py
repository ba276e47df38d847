"""What a process uses: memory held now and at most, and processor time.

Peers' workers import this in their own environments, so it needs nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def memory() -> dict[str, int]:
    """Bytes this process holds in memory: `resident` now, `peak` the most so far. Where the system does not tell what
    is resident now (only Linux does), both are the most so far."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return {"resident": _kilobytes(fields["VmRSS"]), "peak": _kilobytes(fields["VmHWM"])}
    except (OSError, KeyError, ValueError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"resident": most, "peak": most}


def forget_peak() -> bool:
    """Let the peak begin anew from what is resident now; False where the system cannot (see proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def cpu_seconds(pid: int) -> float | None:
    """Processor time a process has used so far, all its threads; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime
    except (OSError, ValueError, IndexError):
        return None


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024
