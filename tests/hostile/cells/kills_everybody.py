# HOSTILE: kills all it may, itself too
# does not start, at most 0
import os

os.kill(-1, 9)
os.kill(os.getpid(), 9)
