"""What changes an image and not the response: diverse sets, level sets and metamers, as folders of a fitted project."""
