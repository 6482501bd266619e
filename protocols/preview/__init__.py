"""What is going to be shown, before it is exported: an unblinded page of a round's images beside photographs."""
