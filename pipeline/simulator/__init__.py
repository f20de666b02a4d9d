"""The bundled simulator: an HTTP server on loopback that answers buy/status as the API's reference page describes.

`catalogue` determines the outcome of a session, `server` answers requests, `service` runs the server for the `local`
environment, `history` writes a month of submissions for the demonstration.
"""
