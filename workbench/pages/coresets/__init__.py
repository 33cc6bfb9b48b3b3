"""The coreset page."""
