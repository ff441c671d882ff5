"""What one hostile message costs everybody else: how long another client waits, and how much memory it takes."""
