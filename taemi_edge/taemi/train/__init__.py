"""Training TAEMI on stored features or end to end."""
