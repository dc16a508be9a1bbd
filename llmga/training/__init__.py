"""What the three trainings share: configuration, checkpoints, the stream of examples."""
