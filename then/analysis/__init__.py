"""Readings of the journal: what was, and why. Nothing here changes anything."""
