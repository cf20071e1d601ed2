"""Measure on another machine over SSH: copy a bundle, run there, bring the record back."""
