"""The bundled clip with burned-in captions, its cue list, and the demonstration that runs on it."""
