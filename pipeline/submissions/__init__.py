"""Intake: from the files that users drop into the inbox to rows of the raw table `session_submissions`.

`formats` reads a file into records, `rows` says which record is a submission, `inbox` lists and
writes inbox files, `intake` ties them together. A SQL source would be another producer of records
beside `formats`.
"""
