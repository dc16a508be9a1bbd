"""Pictures with captions, and how a picture is brought to the size that a model trains on."""
