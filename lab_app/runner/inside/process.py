"""What the system lets one process do."""

import contextlib
import ctypes
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36


def set_process_flag(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def limit_resources() -> None:
    """What one process of an answer may take. The jail's watchdog minds the sum."""
    import resource

    limits = {
        "RLIMIT_AS": 4 << 30,
        "RLIMIT_CPU": 120,
        "RLIMIT_FSIZE": 64 << 20,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 1024,
    }
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS knows some of them by name only
            resource.setrlimit(getattr(resource, name), (value, value))


def descendants(pid: int) -> set[int]:
    """The processes below `pid`, as Linux tells them; elsewhere none."""
    found: set[int] = set()
    with contextlib.suppress(OSError):  # a process may end while its folder is read
        for children in list(Path(f"/proc/{pid}/task").glob("*/children")):
            with contextlib.suppress(OSError):
                for child in map(int, children.read_text().split()):
                    found |= {child} | descendants(child)
    return found


def peak_memory(pid: int) -> int:
    """The most bytes that a process and those below it have held, each at its own worst; where no peak is told, now."""
    if sys.platform != "linux":
        import psutil

        with contextlib.suppress(psutil.Error):
            one = psutil.Process(pid)
            return sum(process.memory_info().rss for process in (one, *one.children(recursive=True)))
        return 0
    peak = 0
    for process in {pid} | descendants(pid):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            peak += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024
    return peak
