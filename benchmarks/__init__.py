"""One module a claim. Each runs as ``python -m benchmarks.NAME`` and ends with one line of JSON."""
