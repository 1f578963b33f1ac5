"""One file for each framework or client."""
