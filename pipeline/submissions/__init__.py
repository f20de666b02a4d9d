"""Intake: from the files that users drop into the inbox to rows of the raw table `session_submissions`.

`listing` says which files count and opens them, `formats` reads one into records, `rows` says which record is a
submission, `inbox` knows which files are new and writes into it, `intake` ties them together. A SQL source would be
another producer of records beside `formats`.
"""
