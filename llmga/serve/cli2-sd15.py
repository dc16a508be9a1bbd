"""From words only, SD1.5 paints: `python -m llmga.serve.cli2-sd15`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sd15", picture=False)
