"""What the documentation site generates when it is built: tables of settings, the catalogue, the API reference, indexes."""
