"""What is measured, one file per claim."""
