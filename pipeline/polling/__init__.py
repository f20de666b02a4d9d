"""Asking buy/status until the answer is final, as fast as the API allows and never faster.

`answers` gives an answer its meaning, `client` asks once, `pace` keeps the ceiling, `schedule` says
who is asked when, `refusals` knows when to give up, `engine` runs them together.
"""
