"""Trained networks and records in the formats of others."""
