"""The chat in a terminal: lines and commands in, words, progress and saved pictures out."""
