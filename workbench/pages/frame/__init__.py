"""Shared parts of all pages: session, runner, address, cache."""
