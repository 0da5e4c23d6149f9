"""How the outputs of tasks are linked, around any architecture that shares."""
