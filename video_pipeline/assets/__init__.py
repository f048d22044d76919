"""What exists, of what it is made and what to show about it. Thin: no pixels here."""
