"""Conversations on disk, many of many people: a database of what was said, its pictures as files beside it."""
