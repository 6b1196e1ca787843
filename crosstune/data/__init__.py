"""Examples, labels and the task that they make."""
