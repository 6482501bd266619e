"""The report page of a round: sentences, tables, figures."""
