"""Fill or grow a picture by talking, SD15 paints: `python -m llmga.serve.cli-sd15-inpainting --image-file FILE …`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sd15-inpainting", picture=True)
