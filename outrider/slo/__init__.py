"""Objectives, error budgets, and whether a budget burns so that somebody must be woken."""
