"""Intake: from the files that users drop into the inbox and its neighbour `sellbacks` to rows of raw tables.

`kinds` says what each folder holds records of, `listing` which files count and opens them, `formats` reads one into
records, `rows` says which record is a submission or a sellback, `inbox` knows which files are new and writes into the
inbox, `intake` ties them together. A SQL source would be another producer of records beside `formats`.
"""
