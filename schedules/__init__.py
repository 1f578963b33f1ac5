"""When it is done: beat's table and its leased scheduler."""
