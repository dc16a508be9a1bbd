"""The web page: one person's visit drawn with gradio, on the one flow of `llmga.assistant.assistant`."""
