"""Reading media: files in hops, face crops, chunks of sound, transcripts and speech recognition."""
