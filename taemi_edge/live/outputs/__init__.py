"""Where a live run's predictions and events go: files, streams, brokers, metrics, the service manager."""
