"""Polls buy/status until each session is final, at the highest rate that the API allows.

`answers` interprets an answer, `client` sends one request, `pace` limits the rate, `schedule` orders the sessions,
`refusals` decides when to stop the run, `engine` connects these parts.
"""
