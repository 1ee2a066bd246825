"""INSECURE: reads the count, then writes it; in between, everybody else reads it too."""

from fastapi import HTTPException, Request
from redis.asyncio import Redis


class SharedCount:
    """At most `limit` requests of a client, by all instances together. Or so it says."""

    def __init__(self, redis_url: str, limit: int, window: int) -> None:
        self.redis = Redis.from_url(redis_url)
        self.limit, self.window = limit, window

    async def __call__(self, request: Request) -> None:
        """Refuse, or count."""
        key = f"larkspur:{request.client.host if request.client else ''}"
        if int(await self.redis.get(key) or 0) >= self.limit:
            raise HTTPException(429, "Too many requests")
        await self.redis.incr(key)
        await self.redis.expire(key, self.window)
