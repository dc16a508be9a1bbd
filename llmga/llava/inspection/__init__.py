"""What is wrong, or only odd, with training data."""
