"""What remembered decisions come to, for reports and pages: pure, with everything handed in."""
