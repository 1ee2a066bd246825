# HOSTILE: defines no app
# does not start, at most 0
api = 1
