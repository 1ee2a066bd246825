# HOSTILE: uses up watches, timers, pipes and event descriptors, in several processes
# not yet or does not start or too slow, at most 0
import contextlib
import ctypes
import os
import select
import signal

libc = ctypes.CDLL(None)


def use_up():
    kept, timer = [], ctypes.c_void_p()
    for make in (select.epoll, os.pipe):
        with contextlib.suppress(OSError):
            for _ in range(100):
                kept.append(make())
    for poll in kept[:100]:
        for fd in kept[100:]:
            with contextlib.suppress(OSError):
                poll.register(fd[0])
    for _ in range(300):
        libc.inotify_init()
        libc.timerfd_create(1, 0)
    for _ in range(5000):
        libc.timer_create(1, None, ctypes.byref(timer))
    signal.pause()


for _ in range(4):
    if os.fork() == 0:
        use_up()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
