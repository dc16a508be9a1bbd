"""Stage 1: the language model learns to see and to write prompts."""
