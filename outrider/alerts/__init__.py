"""Rules, states and notifications."""
