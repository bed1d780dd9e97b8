"""Who is sending, and the keys it is remembered under."""
