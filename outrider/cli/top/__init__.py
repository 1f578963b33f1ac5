"""``outrider top``: the fleet in a terminal, live."""
