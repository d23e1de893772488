"""A server that labels along with people, and chooses what they label next; see server.py."""
