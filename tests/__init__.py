"""The tests; how they are laid out stands in docs/architecture.md."""
