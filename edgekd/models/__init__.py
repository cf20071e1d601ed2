"""Teacher, student and the projectors between them."""
