"""The painting half: text of any length to embeddings, diffusion pipelines, and the second training stage."""
