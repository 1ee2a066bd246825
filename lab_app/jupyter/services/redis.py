"""A Redis on this machine, for `REDIS_URL`. `server.url` is its address, `server.door` what stands before it."""

import atexit

from lab_app.runner.services.redis import redis_for

server = redis_for()
atexit.register(server.close)
