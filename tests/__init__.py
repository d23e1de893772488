"""The tests; a folder each for the folders of the repository."""
