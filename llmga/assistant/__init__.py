"""One session with one person, whatever shows it: what was said, what was painted, and how it goes on."""
