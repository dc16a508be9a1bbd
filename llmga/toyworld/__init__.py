"""A small procedural world in which the whole two-stage scheme is trained and scored on a CPU."""
