"""K torch modules computed as one. Knows nothing of training: see ``engine`` for that."""
