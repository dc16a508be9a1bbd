"""What the three trainings share: configuration, the loop, checkpoints, the stream of examples, launching."""
