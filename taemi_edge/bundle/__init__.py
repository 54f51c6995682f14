"""Bundles: their data and files, the recipes they are made by, safe writing of files, and worker processes."""
