"""Build strategies, one module per kind of table. A table's declaration names its strategy."""
