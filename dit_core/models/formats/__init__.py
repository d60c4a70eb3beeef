"""Files of weights in the forms that other programs write, reduced to one form: the state dict of the published DiT.

`headers` reads names and shapes without torch, `values` reads the tensors, `normal` finds the state dict in the content
of a file and gives its keys their published names, `size` tells what network the weights belong to.
"""

FOLDER = "folder"  # a model folder of this program
FORMS = (FOLDER, "diffusers", "pt", "safetensors")  # in which a model can be exported
RECORDED, MADE_FROM = "dit_core", "from"  # key of what an export holds beside the weights; in it, the exported model
