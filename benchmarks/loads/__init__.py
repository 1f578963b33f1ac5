"""Recorded loads, a simulation of replicas under them, and the policies that are compared."""
