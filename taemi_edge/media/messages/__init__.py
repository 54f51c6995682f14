"""What robots publish: messages of topics, and what the streams of a model read in them."""
