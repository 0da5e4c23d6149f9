"""What the tasks share: architectures, one file each."""
