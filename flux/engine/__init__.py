"""What happens next: the engine, and the drivers that take instances to their rest."""
