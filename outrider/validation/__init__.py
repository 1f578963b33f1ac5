"""Measures the running stack against targets."""
