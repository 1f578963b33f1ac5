"""A two-tier cache that is warmed before it is asked."""
