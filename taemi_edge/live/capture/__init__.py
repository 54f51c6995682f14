"""Capturing live media: connections that come and go, placed on the session's clock."""
