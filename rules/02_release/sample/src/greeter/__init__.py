"""A sample package."""

__version__ = "1.0.0"


def greet(name: str) -> str:
    """A greeting."""
    return f"hello, {name}"
