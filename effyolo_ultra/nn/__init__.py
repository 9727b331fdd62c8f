"""The modules themselves, usable as plain `torch.nn.Module`s without any YAML."""
