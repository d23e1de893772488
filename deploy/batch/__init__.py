"""A model over files, without a server."""
