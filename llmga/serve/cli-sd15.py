"""Talk about a picture, SD1.5 paints: `python -m llmga.serve.cli-sd15 --image-file FILE`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sd15", picture=True)
