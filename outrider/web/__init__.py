"""The dashboard, metrics and health."""
