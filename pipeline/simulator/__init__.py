"""The bundled simulator: an HTTP server on loopback that answers buy/status as the reference page says.

`catalogue` decides what became of a session, `server` answers for it, `service` runs the server for
the `local` environment, `history` writes a month of submissions for the demonstration.
"""
