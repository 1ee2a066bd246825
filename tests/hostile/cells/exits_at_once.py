# HOSTILE: ends its process, exit code 0
# does not start, at most 0
import os

os._exit(0)
