"""The change page."""
