"""The gradient page."""
