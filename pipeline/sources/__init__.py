"""Intake: reads files of the folders `inbox` and `sellbacks`, and rows of a database, into raw tables.

`kinds` declares the kind of record of each folder, `listing` lists and opens files, `formats` reads a file into
records, `rows` validates a record, `inbox` tracks the files that were read and writes new ones into the inbox, `intake`
reads a `Source` into raw. The inbox is one, `postgres` another.
"""
