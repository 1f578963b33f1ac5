"""One module a claim. Each runs as ``python -m benchmarks.NAME`` and ends with one line of JSON."""

import os

# As in our workers: a thread a core would wait, at full speed, for matrices that are too small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
