"""Reads media: files hop by hop, face crops, chunks of sound, transcripts and speech recognition."""
