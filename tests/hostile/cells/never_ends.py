# HOSTILE: never ends
# too slow, at most 0
while True:
    pass
