# HOSTILE: answers with what is no HTTP
# not yet or does not start, at most 0
import os
import socket
import stat
import threading


def noise(listener):
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(os.urandom(4096))
        connection.close()


for fd in range(3, 40):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            threading.Thread(target=noise, args=(socket.socket(fileno=os.dup(fd)),), daemon=True).start()
    except OSError:
        pass


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
