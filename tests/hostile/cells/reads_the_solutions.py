# HOSTILE: reads the solutions and serves them
# does not start or too slow, at most 0
import os
import sys

found = []
for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/usr", sys.prefix, sys.base_prefix)):
        found += [f"{folder}/{name}" for name in names if "authentication" in name or name == "checker.py"]
for name in found:
    exec(open(name).read())
