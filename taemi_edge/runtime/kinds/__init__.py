"""One module for each kind of stream: how its new data becomes work for its encoder."""
