"""What the project needs beside its package: run from the top of the tree, as `python -m tools.NAME`."""
