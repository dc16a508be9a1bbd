"""What a prompt keeps of what was asked for, seen by rule and without weights."""
