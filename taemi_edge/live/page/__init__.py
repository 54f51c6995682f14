"""The page that shows a live run in a browser, and the server behind it."""
