"""Segment an image with plain onnxruntime, without frugalseg: python onnx_in_ten_lines.py MODEL.onnx IMAGE OUT.png"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
card = json.loads(session.get_modelmeta().custom_metadata_map["frugalseg"])
image = Image.open(sys.argv[2]).convert("RGB")
width, height = (max(1, round(side * card["scale"])) for side in image.size)
colours = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
normalised = (colours - card["normalisation"]["mean"]) / card["normalisation"]["divisor"]
padded = np.pad(normalised, [(0, -height % card["stride"]), (0, -width % card["stride"]), (0, 0)], mode="edge")
logits = session.run(["logits"], {"image": padded.transpose(2, 0, 1)[None]})[0][0, :, :height, :width]
# channels: background, classes, border
foreground = logits[1:-1].max(axis=0) > logits[0]
Image.fromarray(np.uint8(255) * foreground).resize(image.size, Image.Resampling.NEAREST).save(sys.argv[3])
