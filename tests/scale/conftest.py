"""Clusters of tests ask for no token, so that they do not depend on what a user's home holds."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
