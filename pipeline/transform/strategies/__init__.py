"""How each kind of table is built, one module a kind; a table's declaration names its kind."""
