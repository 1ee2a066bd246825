"""The jail, looked at from inside."""

import contextlib
import ctypes
import os
import socket
from pathlib import Path

CLONE_NEWUSER = 0x10000000
OUTSIDE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # addresses for documentation


def faults(hidden: list[str]) -> list[str]:
    """What a run in here could see or do, but must not."""
    found = [f"{path} can be seen" for path in hidden if os.path.lexists(path)]
    found += [f"{path} can be read" for path in ("/etc/shadow", "/proc/1/environ") if os.access(path, os.R_OK)]
    found += [f"{address} can be reached" for family, address in OUTSIDE if reached(family, address)]
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    right = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    found += [f"{name} is {status.get(name)}" for name, value in right.items() if status.get(name) != value]
    if os.getuid() == 0:
        found.append("it runs as root")
    if ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0:
        found.append("it can make user namespaces")
    return found


def reached(family: int, address: str) -> bool:
    """Whether there is a way to an address. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return True
    return False
