"""Measure what one hostile message costs other clients: how long they wait, and how much memory it takes."""
