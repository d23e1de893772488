"""Servers for exported models."""
