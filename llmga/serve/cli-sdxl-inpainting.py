"""Fill or grow a picture by talking, SDXL paints: `python -m llmga.serve.cli-sdxl-inpainting --image-file FILE …`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sdxl-inpainting", picture=True)
