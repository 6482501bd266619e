"""What changes an image and not the response: level sets, metamers, diverse sets, tuning series."""
