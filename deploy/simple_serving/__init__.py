"""An HTTP server of exported models, and its client."""
