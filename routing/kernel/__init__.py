"""Plans in the kernel: what routes, rules, classes and marks should be, and the way there."""
