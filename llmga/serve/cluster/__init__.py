"""The server on Ray Serve: the same application, with the models in replicas of their own."""
