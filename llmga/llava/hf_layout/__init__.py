"""transformers' own LLaVA layout of our models, so that any engine which knows LLaVA can serve them.

What that class lacks is written into its weights: the picture scale goes into the projector's last layer, a one-layer
projector is followed by the identity, and the image token, which needs a row there, is the mean of all rows (so it is
never the likeliest word).  Rows beyond the tokenizer are left out.  What cannot be told there lies in the subfolder
`saving.KEPT`, which other engines do not look into, so that the way back (`reading`) loses nothing.
"""
