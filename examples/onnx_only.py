"""Paint with NumPy, Pillow and ONNX Runtime alone. `arbstyle export --onnx models` writes the models; then

python examples/onnx_only.py models examples/photo-cat.jpg examples/painting-night.jpg result.png [strength]
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path: str) -> np.ndarray:  # 3×H×W, RGB in [0,1]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255


def resize(picture: np.ndarray, short_side: int) -> np.ndarray:
    height, width = (round(side * short_side / min(picture.shape[1:])) for side in picture.shape[1:])
    planes = [Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC) for plane in picture]
    return np.stack([np.asarray(plane) for plane in planes]).clip(0, 1)


models, photo_path, style_path, output, *rest = sys.argv[1:]
strength = np.float32(rest[0] if rest else 1)
reader, painter = (onnxruntime.InferenceSession(f"{models}/{name}.onnx") for name in ("style", "painter"))
photo, style = read(photo_path), read(style_path)
size = min(max(min(photo.shape[1:]), 256), 2048)  # styles are best looked at in the photo's size
look = [reader.run(["parameters"], {"style": resize(each, size)[None]})[0] for each in (photo, style)]
parameters = look[0] + strength * (look[1] - look[0])  # a blend of styles is a weighted mean, too
inputs = {"photo": photo[None], "parameters": parameters, "seed": np.array([0])}
(painted,) = painter.run(["painted"], {each.name: inputs[each.name] for each in painter.get_inputs()})[0]
amount = strength * (2 - strength) if strength < 1 else 1  # so that 0 is exactly the photo
bytes_ = np.rint((photo + (painted - photo) * amount).clip(0, 1) * 255).astype(np.uint8)
Image.fromarray(bytes_.transpose(1, 2, 0)).save(output)
