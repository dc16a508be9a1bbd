"""Change a picture by talking, SD1.5 paints: `python -m llmga.serve.cli-sd15-editing --image-file FILE`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sd15-editing", picture=True)
