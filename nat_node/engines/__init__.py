"""What translates: our own translator, the kernel's NAT, or a student's file."""
