"""What runs tasks: one module a kind, each imported on first use."""
