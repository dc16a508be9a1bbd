"""Stage 2: the UNet learns to paint from the detailed prompts that the language model writes."""
