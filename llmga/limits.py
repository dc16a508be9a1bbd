"""How far numbers may go, for those who check them and for those who offer them; importing it loads no library."""

SEEDS = 2**63  # that a generator of torch, so a pipeline, takes: a session counts on from the seed that was asked for
LARGEST_SEED = 2**32 - 1  # that can be asked for: what other tools that read the records can hold
SMALLEST_SIDE, LARGEST_SIDE = 16, 2048  # pixels of a picture that is painted
LARGEST_GUIDANCE = 100
MOST_VERSIONS = 10  # pictures of one prompt that are painted at once
MOST_PIXELS = 200_000_000  # of all pictures of a saved session together: 800 MB of memory
