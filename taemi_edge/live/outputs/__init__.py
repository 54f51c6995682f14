"""Where the predictions and events of a live run go: files, streams, brokers, metrics, the service manager."""
