"""The debugger: one flow stopped, looked at, changed and let go on. Faces of it are elsewhere."""
