"""Everything about a model YAML that can be known without training; `effyolo_ultra.check` is the whole of it."""
