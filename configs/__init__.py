"""Configurations, one file a use, and the camera library."""
