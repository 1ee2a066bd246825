# HOSTILE: exits
# does not start, at most 0
import sys

sys.exit(0)
