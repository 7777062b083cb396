"""Oracles: what suggests the next point of a search space."""
