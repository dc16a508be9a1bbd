"""The assistant people talk to: one flow of events, drawn by a terminal, a page or an HTTP server."""
