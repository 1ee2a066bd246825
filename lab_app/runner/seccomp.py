"""Calls of the kernel that a jail does without, as the filter program that bubblewrap loads.

Memory that belongs to no process is counted by no watchdog, keyrings and the limits of other processes reach out of
a run, and the rest has no use here but to attack the kernel. So have most kinds of sockets, and no network namespace
holds those that speak to the machine around a virtual one.
"""

import errno
import platform
import socket
import struct

DENIED = (
    "memfd_create memfd_secret shmget msgget add_key request_key keyctl io_uring_setup bpf perf_event_open userfaultfd"
).split()
FAMILIES = (socket.AF_UNIX, socket.AF_INET, getattr(socket, "AF_INET6", 10), 16)  # 16: netlink, for getaddrinfo
# By machine: how the kernel names it (linux/audit.h), the numbers of DENIED, and those of prlimit64 and socket.
MACHINES = {
    "x86_64": (0xC000003E, (319, 447, 29, 68, 248, 249, 250, 425, 321, 298, 323), 302, 41),
    "aarch64": (0xC00000B7, (279, 447, 194, 186, 217, 218, 219, 425, 280, 241, 282), 261, 198),
}
X32 = 0x40000000  # the first number of x86_64's second table, which holds the same calls again
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


def program(machine: str = platform.machine()) -> bytes:
    """The filter for a machine. Raises KeyError where the numbers are unknown."""
    audit, numbers, prlimit, opened = MACHINES[machine]
    refuse, allow = [(RETURN, 0, 0, REFUSE)], [(RETURN, 0, 0, ALLOW)]
    steps = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, audit), *refuse, (LOAD, 0, 0, NUMBER)]
    for test, number in ((AT_LEAST, X32), *((EQUAL, number) for number in numbers)):
        steps += [(test, 0, 1, number), *refuse]
    # prlimit64 of oneself (0) is setrlimit; of others it is not needed.
    for number, arguments in ((prlimit, (0,)), (opened, FAMILIES)):
        tests = [(EQUAL, len(arguments) - n, 0, argument) for n, argument in enumerate(arguments)]
        steps += [(EQUAL, 0, len(tests) + 3, number), (LOAD, 0, 0, FIRST_ARGUMENT), *tests, *refuse, *allow]
    steps += allow
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
