"""From words only, SDXL paints: `python -m llmga.serve.cli2-sdxl`."""

from llmga.serve.terminal.cli import main

if __name__ == "__main__":
    main(family="sdxl", picture=False)
