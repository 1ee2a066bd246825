# HOSTILE: has the kernel hold what nobody reads, in many sockets of many processes
# does not start or too slow, at most 0
import contextlib
import os
import socket
import time

for _ in range(6):
    if os.fork() == 0:
        held = [socket.socketpair() for _ in range(450)]
        for one in (end for pair in held for end in pair):
            one.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    one.send(bytes(65536))
        time.sleep(60)
time.sleep(60)
