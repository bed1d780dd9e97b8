"""What mail itself says about names and floods, kept in the store."""
