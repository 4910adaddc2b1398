"""Sensitivities, one CSV a camera; sources are named in each."""
