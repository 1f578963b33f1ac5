"""The supervisor's end of the channel: a hub through which its bots talk to it and to each other."""
