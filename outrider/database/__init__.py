"""Engines whose pools fit the server together."""
