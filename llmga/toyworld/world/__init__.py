"""The world of 96 pixels: what is in it, how it is drawn, said in words, and read back from pixels."""
