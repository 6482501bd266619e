"""Files of any laboratory -> one finished file of responses (schema responses/1), which the one reader then checks."""
