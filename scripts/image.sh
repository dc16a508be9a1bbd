#!/bin/sh
# Build the server's image: scripts/image.sh cpu|cuda [NAME]
set -eu
cd "$(dirname "$0")/.."
kind=${1:-cpu}
name=${2:-llmga:$kind}
case $kind in
    cpu) index=https://download.pytorch.org/whl/cpu ;;
    cuda) index=https://pypi.org/simple ;; # its wheels for Linux bring CUDA
    *) echo "error: $kind is no kind of image; give cpu or cuda." >&2; exit 2 ;;
esac
if command -v hadolint > /dev/null; then
    hadolint deploy/Dockerfile
else
    echo "hadolint is not there: the Dockerfile is not linted" >&2
fi
exec docker build --file deploy/Dockerfile --build-arg "TORCH_INDEX=$index" --tag "$name" .
