"""Says what is normal, what is odd, and what holds the fleet back."""
