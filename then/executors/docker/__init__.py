"""Tasks in containers of Docker engines, near and far."""
