# HOSTILE: takes the listener, and answers 100 Continue without end
# not yet or too slow or does not start, at most 0
import contextlib
import os
import socket
import stat
import threading


def go_on(connection):
    with contextlib.suppress(OSError), connection:
        connection.recv(65536)
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def take(listener):
    while True:
        threading.Thread(target=go_on, args=(listener.accept()[0],), daemon=True).start()


for fd in range(3, 40):
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            threading.Thread(target=take, args=(socket.socket(fileno=os.dup(fd)),), daemon=True).start()


async def app(scope, receive, send):
    pass
