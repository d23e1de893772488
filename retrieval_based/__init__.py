"""Classification by a semantic index, for labels that change or are many."""
