"""Schemas, planted cases and traps for benchmarks.database_indexes."""
