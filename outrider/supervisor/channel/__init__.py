"""The supervisor's end of the channel: a hub for its bots to talk to it and to each other."""
