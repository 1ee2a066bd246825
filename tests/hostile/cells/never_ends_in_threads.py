# HOSTILE: never ends, in many threads, deaf to signals
# too slow, at most 0
import signal
import threading

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def spin():
    while True:
        pass


for _ in range(20):
    threading.Thread(target=spin).start()
spin()
