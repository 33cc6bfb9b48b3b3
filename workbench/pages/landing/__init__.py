"""The landing page at the root of the server, and the command that serves it with all pages."""
