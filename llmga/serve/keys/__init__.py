"""API keys with quotas, kept in a SQLite file: `llmga keys` manages them, `llmga serve --keys FILE` asks for them."""
