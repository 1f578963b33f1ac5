"""Bot processes on one database server, driven by arrivals that are the same each time."""
