"""Files as named arrays, whatever wrote them: one module per kind of file, and the catalogue of them."""
