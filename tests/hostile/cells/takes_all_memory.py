# HOSTILE: takes all memory, in many processes
# does not start or too slow, at most 0
import os
import time

for _ in range(8):
    if os.fork() == 0:
        held = [bytes([1]) * (1 << 20) for _ in range(200)]
        time.sleep(60)
time.sleep(60)
