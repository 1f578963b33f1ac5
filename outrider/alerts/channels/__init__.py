"""One file for each way to tell people."""
