"""Collectors: each turns one part of a fleet into named numbers."""
