"""Makes and checks the site of the documents: `make docs` and `make docs-check`."""
