"""Placeholder docstring, replaced by the wing."""
