"""Training of the networks, on arrays alone."""
