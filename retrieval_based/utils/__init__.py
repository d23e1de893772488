"""Parts of the retrieval system."""
