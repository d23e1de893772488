"""The sample data, and the tools that make and check data."""
