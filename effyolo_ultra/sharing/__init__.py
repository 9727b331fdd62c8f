"""Sharing a trained network as a variant: model YAML, weights as safetensors, metadata, a model card, the licence.

* `contents.py` reads and writes the files of a variant, a folder or a zip that anybody may have made.
* `metadata.py` is variant.json, `build.py` model.yaml, `tensors.py` model.safetensors, `card.py` README.md.
* `pack.py` makes a variant of a checkpoint, `unpack.py` a checkpoint of a variant, `hub.py` sends and fetches one.

What comes from a stranger is data: no pickle is read, and nothing in it is run.
"""
