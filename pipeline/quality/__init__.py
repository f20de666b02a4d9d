"""The checks of tables: rules from the declarations, reconciliations, observations, and the published file's."""
