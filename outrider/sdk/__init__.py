"""What a bot imports; cheap to import."""
