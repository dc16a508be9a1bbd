"""Training records: files -> records -> conversations -> encoded samples -> batches."""
