"""Segment an image with plain onnxruntime, without frugalseg: python onnx_in_ten_lines.py MODEL.onnx IMAGE OUT.png"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
card = json.loads(session.get_modelmeta().custom_metadata_map["frugalseg"])
image = Image.open(sys.argv[2]).convert("RGB")
size = [max(1, round(side * card["scale"] / card["stride"])) * card["stride"] for side in image.size]
colours = np.asarray(image.resize(size), dtype=np.float32)
normalised = (colours - card["normalisation"]["mean"]) / card["normalisation"]["divisor"]
logits = session.run(["logits"], {"image": normalised.transpose(2, 0, 1)[None]})[0][0]  # background, classes, border
foreground = logits[1:-1].max(axis=0) > logits[0]
Image.fromarray(np.uint8(255) * foreground).resize(image.size, Image.Resampling.NEAREST).save(sys.argv[3])
