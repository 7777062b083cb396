"""Images and labels: from what the user names to one checked Dataset. Import from the modules."""
