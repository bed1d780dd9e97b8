"""Tables that match many values at once, the fields of an attempt as conditions see them, times of day."""
