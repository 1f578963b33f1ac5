"""Series in memory or in Redis, and the keys of everything that is kept."""
