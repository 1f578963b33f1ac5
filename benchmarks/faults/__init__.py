"""Faults that are real: each is made while a `with` block lasts, and undone however it ends."""
