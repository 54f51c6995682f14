"""What a bundle is: its data, its folder on disk, recipes, and folders and processes that end cleanly."""
