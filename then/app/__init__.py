"""The one place where things are put together."""
