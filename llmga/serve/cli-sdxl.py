"""Talk about a picture, SDXL paints: `python -m llmga.serve.cli-sdxl --image-file FILE`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sdxl", picture=True)
