"""The command line under test: in this process where that will do, as a program where signals and terminals count."""
