# HOSTILE: forks without end
# does not start or too slow or not yet, at most 0
import os

while True:
    try:
        os.fork()
    except OSError:
        pass
