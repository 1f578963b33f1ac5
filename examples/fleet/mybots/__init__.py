"""Five bots and the small world they live in."""
