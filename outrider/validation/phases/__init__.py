"""One file for each phase."""
