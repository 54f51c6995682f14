"""The site of the documents (`make docs`): what MkDocs is given, what is made from the program, and how it is checked.

`hooks.py` and `docstrings.py` are loaded by MkDocs and mkdocstrings, as mkdocs.yml says. `commands.py` and `schemas.py`
write pages of the reference. `check.py` looks at everything in Chromium.
"""
