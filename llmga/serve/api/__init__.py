"""The OpenAI-shaped HTTP server: `llmga.serve.openai_api` starts it."""
