# HOSTILE: opens every kind of socket, to reach the machine around this one or to attack the kernel
# does not start or too slow, at most 0
import contextlib
import socket

opened = []
for family in range(3, 50):
    for kind in (1, 2, 3, 5):
        if family not in (socket.AF_INET6, socket.AF_NETLINK):
            with contextlib.suppress(OSError), socket.socket(family, kind):
                opened.append((family, kind))
raise SystemExit(f"found {opened}" if opened else "found nothing")
