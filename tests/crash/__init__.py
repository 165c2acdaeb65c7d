"""Tests that end engines and disks on purpose."""
