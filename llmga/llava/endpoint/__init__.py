"""Somebody else's server as planner: whatever speaks the OpenAI chat protocol."""
