"""What all tests may ask for: a Redis that is there for the whole run."""

from redis_server import redis_server, redis_url

__all__ = ["redis_server", "redis_url"]
