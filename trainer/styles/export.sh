#!/usr/bin/env bash
# export.sh PHOTOS [LOOK...]: writes engine/animevid/styles/LOOK.onnx, LOOK-int8.onnx, LOOK-high.onnx and LOOK-high-int8.onnx
# from the weights beside this file.
# The INT8 files are calibrated on half of 64 of the PHOTOS and compared with FP32 on the other half.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
photos=${1:?export.sh PHOTOS [LOOK...]}
shift
looks=("$@")
[ ${#looks[@]} -gt 0 ] || looks=(aozora cel ehon)

licences="photos: CC-BY-SA 4.0, public domain, Unsplash, Flickr, free wallpapers, and MIT-licensed synthetic portraits"
networks="HED (MIT), Real-ESRGAN anime (BSD-3-Clause), CartoonGAN (Apache-2.0), BlazeFace (Apache-2.0)"
declare -A title=([aozora]=Aozora [cel]=Cel [ehon]=Ehon)
declare -A description=(
  [aozora]="Bright summer day: thin toned lines, luminous sky"
  [cel]="Flat two- and three-tone shading, clean dark contours"
  [ehon]="Picture book: creamy light, brush dabs, sepia lines"
)
# The luma branch stays in float: rounded, it shows a grid and flickers more (docs/training-log.md, 26).
write_style() { # LOOK QUALITY NET_PIXELS FILE
  "${PYTHON:-python3}" -m animevid import "$here/$1-$2.safetensors" "$here/../../engine/animevid/styles/$4" \
    --int8 --photos "$photos" --name "$1" --title "${title[$1]}" --description "${description[$1]}" \
    --licence CC-BY-4.0 --quality "$2" --net-pixels "$3" --keep-float enter. lines. \
    --trained-on "pictures that filters and networks painted of photos ($licences); networks: $networks"
}
for look in "${looks[@]}"; do
  write_style "$look" fast 230400 "$look.onnx"
  write_style "$look" high 921600 "$look-high.onnx"
done
