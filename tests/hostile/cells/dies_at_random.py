# HOSTILE: dies at random, by a random signal
# not yet or does not start or too slow, at most 0
import os
import random
import threading
import time


def die():
    time.sleep(random.random() * 2)
    os.kill(os.getpid(), random.choice([9, 11, 6, 31]))


threading.Thread(target=die, daemon=True).start()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
