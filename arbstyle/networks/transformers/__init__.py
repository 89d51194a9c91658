"""Transformation networks: they repaint a photo as the style parameters of their sites say. One file each."""
