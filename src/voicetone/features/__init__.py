"""What models hear: features of audio at 16 kHz."""
