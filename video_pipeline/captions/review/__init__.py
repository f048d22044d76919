"""The page in which a person checks and corrects the captions of one video."""
