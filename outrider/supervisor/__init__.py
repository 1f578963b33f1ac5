"""Starts bots, keeps them up, and says how they are."""
