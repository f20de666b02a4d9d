"""Polls buy/status until each session is final, at the highest rate that the API allows.

`answers` interprets an answer, `client` sends one request, `pace` limits the rate, `schedule` decides
which session is polled when, `refusals` decides when to stop the run, `engine` runs them together.
"""
